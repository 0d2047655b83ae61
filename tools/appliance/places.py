"""Where everything of an installation lies, and what it is called."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
STATE = Path("/var/lib/skep")
ETC = STATE / "etc"
ENGINE_STATE = STATE / "state"
GATEWAY_STATE = STATE / "gateway"
POOL = STATE / "pool"
LOG = STATE / "log"
KEYS = STATE / "keys"
PUBLISHED = STATE / "published"
BUILD = STATE / "image-build"
ENVIRONMENT = STATE / "venv"
UV = STATE / "uv"
RUN_HELPER = Path("/run/skep")
RUN_ENGINE = Path("/run/skepd")
RUN = (RUN_HELPER, RUN_ENGINE)

POLICY = ETC / "policy.toml"
SIGNING_KEY = ETC / "image-signing-key"
SIGNERS = ETC / "allowed-signers"
SITE = STATE / "site.toml"
EXAMPLE = REPOSITORY / "examples" / "laptop" / "site.toml"
ACCESS_KEY = KEYS / "id_ed25519"
SSH_CONFIG = KEYS / "ssh_config"

USER = "skep"
GATEWAY_USER = "skepgw"
IMAGE_NAME, IMAGE_VERSION = "skep-small", "1"
IMAGE_PORT = 8097
GATEWAY_PORT = 8443
PAGE = f"https://localhost:{GATEWAY_PORT}"
"""By a name, not an address: browsers keep passkeys for names only."""
PYTHON = "/usr/bin/python3"
"""The system's: users without rights must be able to run it, wherever the administrator keeps his own."""


def tool(name: str) -> str:
    """A program of the installed environment."""
    return str(ENVIRONMENT / "bin" / name)
