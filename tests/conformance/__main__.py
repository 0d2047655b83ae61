"""The suite on a bare Python 3.11, from the project's folder: `python3.11 -m tests.conformance [WORD]`.

Only tests whose name holds WORD are run. Ends with 1 when a test failed. What is tested: see conformance_hosts.
"""

from __future__ import annotations

import importlib
import itertools
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parent.parent
sys.path[:0] = [str(_HERE), str(_HERE.parent), *(str(_ROOT / "packages" / name) for name in ("skep-helper", "skepd"))]

from conformance_hosts import SIM, connected, helper, hosts  # noqa: E402
from conformance_lab import Lacking, runs_on, variants_of  # noqa: E402

Test = tuple[str, Callable[..., None], dict[str, Any]]


def tests() -> Iterator[Test]:
    """Every test with the arguments of each of its variants, in the order of the files."""
    for path in sorted(_HERE.glob("test_*.py")):
        module = importlib.import_module(path.stem)
        for name, function in vars(module).items():
            if name.startswith("test_"):
                known = variants_of(function)
                for values in itertools.product(*known.values()):
                    shown = f"{path.stem}.{name}" + (f"[{'-'.join(values)}]" if values else "")
                    yield shown, function, dict(zip(known, values, strict=True))


def main(word: str = "") -> int:
    chosen = [test for test in tests() if word in test[0]]
    failed: list[str] = []
    skipped: list[str] = []
    count = 0
    with ExitStack() as stack:
        for name in hosts():
            path = None if name == SIM else stack.enter_context(helper())
            for shown, function, arguments in chosen:
                if not runs_on(function, name):
                    continue
                count += 1
                print(f"{name}: {shown}", end=" ... ", flush=True)
                try:
                    with connected(name, path) as host:
                        function(host, **arguments)
                except Lacking as reason:
                    print(f"skipped: {reason}")
                    skipped.append(f"{name}: {shown} ({reason})")
                except Exception:
                    print("FAILED")
                    traceback.print_exc()
                    failed.append(f"{name}: {shown}")
                else:
                    print("passed")
    print(f"{count} tests on {', '.join(hosts())}: {len(failed)} failed, {len(skipped)} skipped")
    for word, tests_of_it in (("failed", failed), ("skipped", skipped)):
        print(*(f"  {word}: {test}" for test in tests_of_it), sep="\n", end="\n" if tests_of_it else "")
    return 1 if failed or len(skipped) == count else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
