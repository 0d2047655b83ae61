"""Run as `python3 -m appliance COMMAND` with tools/ as the module path."""

import sys

from .main import main

sys.exit(main())
