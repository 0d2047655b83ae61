"""Makes the modules beside this file importable from every test (pytest puts the folder of a conftest on the path).

And keeps a busy machine from deciding a property: Hypothesis by itself fails a test whose examples take long.
"""

from __future__ import annotations

import os
from contextlib import suppress

# The kernels that some suites bring up have no Hypothesis. Where CI is set it has a profile of its own for that.
with suppress(ImportError):
    from hypothesis import HealthCheck, settings

    if "CI" not in os.environ:
        settings.register_profile("skep", deadline=None, suppress_health_check=[HealthCheck.too_slow])
        settings.load_profile("skep")
