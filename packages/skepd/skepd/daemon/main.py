"""skepd's command line: wires host, engine and API together and serves until it is told to stop."""

from __future__ import annotations

import argparse
import logging
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from skep_helper.vocabulary import HelloReading

import skepd
from skepd.api import server
from skepd.api.authorise import Policy
from skepd.engine.engine import Engine, Settings
from skepd.files import DiskFiles, Files
from skepd.helper_client import HelperClient
from skepd.host import Host, HostError
from skepd.images.options import Options
from skepd.images.pull import pull
from skepd.model.facts import HostFacts
from skepd.platform.here import here
from skepd.platform.places import Places
from skepd.platform.sim import SimHost
from skepd.platform.sim.files import SimFiles

EX_UNAVAILABLE, EX_CANTCREAT, EX_CONFIG = 69, 73, 78
METRICS = "metrics"
FOLDERS = ("images", "filters", "networks", "routers", "ports", "journals", METRICS)
log = logging.getLogger("skepd")


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        places = here().places
    except LookupError as error:
        print(f"skepd: {error}", file=sys.stderr)  # noqa: T201
        return EX_CONFIG
    options = _parser(places).parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        engine = Engine(_simulated(options) if options.simulate else _real(options))
    except HostError as error:
        print(f"skepd: {error}; is skep-helper running, and is its socket {options.helper}?", file=sys.stderr)  # noqa: T201
        return EX_UNAVAILABLE
    except OSError as error:
        print(f"skepd: {error}; the state folder must be there and belong to this user", file=sys.stderr)  # noqa: T201
        return EX_CANTCREAT
    # Recovery may take minutes (guests start, gates are waited for); the API answers meanwhile.
    recovery = threading.Thread(target=_recover, args=(engine,), name="recovery", daemon=True)
    recovery.start()
    try:
        server.run(engine, _api(options))
    except ValueError as error:
        print(f"skepd: {error}", file=sys.stderr)  # noqa: T201
        return EX_CONFIG
    finally:
        engine.close()
    return 0


def _parser(places: Places) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="skepd", description="The engine of Skep: keeps a host as its definitions say."
    )
    parser.add_argument("--state", type=Path, default=places.state, help="definitions and journals")
    parser.add_argument("--pool", type=Path, default=places.pool, help="as in the helper's policy")
    parser.add_argument("--socket", type=Path, default=places.socket, help="where the API listens")
    parser.add_argument("--helper", type=Path, default=places.helper, help="skep-helper's socket")
    parser.add_argument("--allowed-signers", type=Path, default=places.signers, help="of images")
    parser.add_argument("--uplink", action="append", default=[], help="of the simulated host: an interface (repeat)")
    parser.add_argument("--group", default="skep", help="whose members administer this host")
    parser.add_argument("--gateway-user", default="skepgw", help="may connect, but has no rights of its own")
    parser.add_argument("--page", help="where browsers reach the gateway; https://HOSTNAME:8443")
    parser.add_argument("--simulate", action="store_true", help="drive a simulated host in memory instead of this one")
    parser.add_argument("--version", action="version", version=f"skepd {skepd.__version__}")
    return parser


def _recover(engine: Engine) -> None:
    try:
        engine.recover()
    except (HostError, OSError, ValueError):
        log.exception("recovery did not finish; the watch tries on")
    engine.start()


def _real(options: argparse.Namespace) -> Settings:
    for name in FOLDERS:
        (options.state / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    connect = partial(HelperClient, options.helper)
    return _settings(options, DiskFiles(), connect, here().read_facts, options.state)


def _simulated(options: argparse.Namespace) -> Settings:
    host = SimHost(uplinks=tuple(options.uplink))
    return _settings(options, SimFiles(), lambda: host, lambda hello: host.facts(), None)


def _settings(
    options: argparse.Namespace,
    files: Files,
    connect: Callable[[], Host],
    facts: Callable[[HelloReading], HostFacts],
    kept: Path | None,
) -> Settings:
    """kept: the folder of what may be lost; None: it is in memory."""
    return Settings(
        files=files,
        state=options.state,
        pool_guests=options.pool / "guests",
        connect=connect,
        read_facts=facts,
        pull=partial(_pull, options.allowed_signers),
        version=skepd.__version__,
        index=kept / "index.sqlite" if kept else None,
        metrics=kept / METRICS if kept else None,
    )


def _pull(signers: Path, host: Host, name: str, version: str, sources: Sequence[str], **callbacks: object) -> object:
    return pull(host, name, version, sources, signers, options=Options(), **callbacks)  # type: ignore[arg-type]


def _api(options: argparse.Namespace) -> server.Settings:
    options.socket.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    return server.Settings(
        socket=options.socket,
        tokens=options.state / "tokens.json",
        page=options.page or f"https://{socket.gethostname()}:8443",
        policy=Policy(admin=options.group, gateways=(options.gateway_user,)),
    )


if __name__ == "__main__":
    sys.exit(main())
