#!/bin/sh
# Run the installer with the system's Python, which a fresh machine may not have yet.
set -eu
cd "$(dirname "$0")"
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "make: this changes the machine: become root first" >&2; exit 1; }
    exec sudo -- sh "$(pwd)/python.sh" "$@"
fi
if [ ! -x /usr/bin/python3 ] || [ ! -d /usr/share/doc/python3-venv ]; then
    echo "installing python3 ..."
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends python3 python3-venv >/dev/null
fi
exec /usr/bin/python3 -m appliance "$@"
