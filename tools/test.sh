#!/bin/sh
# Tests, from a clean clone: install what they need, then run the part that is asked for (all of `make test` by default).
set -eu
cd "$(dirname "$0")/.."
part=${1:-test}
PATH="$(pwd)/.venv/bin:$(pwd)/build/uv/bin:$PATH"
export PATH

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -- "$@"; fi; }

packages() {
    missing=""
    for name in $(cat "$@"); do
        dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed || missing="$missing $name"
    done
    [ -z "$missing" ] && return
    echo "installing:$missing"
    as_root apt-get update -q >/dev/null
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing >/dev/null
}

environment() {
    if ! command -v uv >/dev/null || [ "$(uv --version | cut -d' ' -f2)" != "$(cat tools/uv-version)" ]; then
        /usr/bin/python3 -m venv build/uv
        build/uv/bin/pip install --quiet "uv==$(cat tools/uv-version)"
    fi
    UV_PYTHON_DOWNLOADS=never uv sync --quiet --locked
}

lint() {
    ruff check .
    ruff format --check --quiet .
    mypy
    MYPYPATH=tools mypy tools/appliance tools/kernel_guest tools/test_net.py tools/test_zfs.py tools/web_build.py
    lint-imports
    python tools/web_build.py check
}

# The pages against what `make up` starts. A machine that Skep ran on before keeps running.
real_web() {
    before=$([ -S /run/skepd/skepd.sock ] && echo running || echo stopped)
    make up
    status=0
    python -m pytest tests/web_real || status=$?
    [ "$before" = running ] || make down
    return "$status"
}

if [ "$part" = conformance ] && [ "$(uname)" != Linux ]; then
    # A bare Python 3.11: nothing is installed for this.
    exec env PYTHONPATH=packages/skep-helper:packages/skepd:packages/skep python3.11 -m tests.conformance
fi
case $part in
    zfs) packages tools/test-packages tools/test-zfs-packages ;;
    web) packages tools/test-packages tools/test-web-packages ;;
    *) packages tools/test-packages ;;
esac
environment
case $part in
    lint) lint ;;
    test)
        lint
        python -m pytest -n 2 --dist loadgroup tests/unit tests/property tests/conformance tests/freebsd
        python -m pytest tests/linux
        ;;
    conformance) python -m pytest tests/conformance ;;
    web)
        python tools/web_build.py check
        python -m pytest -n 2 --dist loadgroup tests/web
        real_web
        ;;
    net) python tools/test_net.py ;;
    zfs) python tools/test_zfs.py ;;
    soak) SKEP_HOSTILE_REQUESTS=1000000 SKEP_SOAK=1 python -m pytest --timeout 0 tests/soak tests/unit/helper/test_hostile.py ;;
    bench) as_root env PATH="$PATH" "$(command -v python)" bench/run.py ;;
    docs)
        python -m skepd.model.reference > docs/site-toml.md
        python -m skepd.api.openapi > docs/openapi.json
        python -m skep.cli.manual > docs/cli.md
        python -m skep.cli.mdoc > packaging/freebsd/man/skep.1
        python -m skepd.model.mdoc > packaging/freebsd/man/site.toml.5
        ;;
    *) echo "usage: test.sh [test|lint|web|net|zfs|conformance|soak|bench|docs]" >&2; exit 64 ;;
esac
