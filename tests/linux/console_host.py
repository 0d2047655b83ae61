"""A process for test_consoles: skepd's API over a simulated host with two guests, told what to do line by line.

away, back: skepd goes and comes back, its guests run on. count NAME: numbered lines. flood NAME MIB. cut NAME: its
lines are cut, as by a guard that dies. stop NAME. deaf NAME: it hears nothing. end: all sessions of the token end.
change NUMBER: events of so many guests. screen NAME ...: see show.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from skepd.api.app import create_app
from skepd.api.authorise import Account, Authoriser
from skepd.api.server import Server, listening
from skepd.api.tokens import TokenStore
from skepd.engine.engine import Engine, Settings
from skepd.model.names import Manager
from skepd.model.objects import Guest
from skepd.platform.sim import SimHost
from skepd.platform.sim.files import SimFiles

sys.path.insert(0, str(Path(__file__).parents[1]))
from rfb_peers import LonelyScreen, Painting


class Api:
    """skepd without its engine, which outlives it here as guests do."""

    def __init__(self, engine: Engine, folder: Path, tokens: TokenStore) -> None:
        authoriser = Authoriser(tokens, accounts=lambda uid: Account("skepgw", frozenset()))
        self.app = create_app(engine, tokens, authoriser)
        self._socket = folder / "skepd.sock"
        self.server = Server(self.app, folder / "consoles.sock", b"key")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def _serve(self) -> None:
        with listening(self._socket, None, 0o666) as listener:
            self.server.run([listener])

    def close(self) -> None:
        self.server.should_exit = True
        self._thread.join()
        self.app.state.service.workers.close()


def main(folder: Path) -> None:
    host = SimHost()
    settings = Settings(
        files=SimFiles(), state=Path("/state"), pool_guests=Path("/pool/guests"), connect=lambda: host,
        read_facts=lambda hello: host.facts(), pull=lambda *_: None, version="test",
    )  # fmt: skip
    engine = Engine(settings)
    engine.recover()
    engine.start()
    for name in sys.argv[2:] or ("web", "db"):
        engine.wait(engine.put(Guest(name=name, manager=Manager.USER), manager=Manager.USER).id, 60)
    tokens = TokenStore(folder / "tokens.json")
    token = tokens.create("test", "admin")
    api: Api | None = Api(engine, folder, tokens)
    print(token.secret, flush=True)
    for line in sys.stdin:
        word, *rest = line.split()
        answer = "ok"
        if word == "away" and api is not None:
            api.close()
            api = None
        elif word == "back":
            api = Api(engine, folder, tokens)
        elif word == "end" and api is not None:
            registry = api.app.state.service.consoles
            answer = str(registry.end(f"token:{token.id}"))
        else:
            answer = act(engine, host, word, rest)
        print(answer, flush=True)


def show(host: SimHost, guest: str, rest: list[str]) -> str:
    """A screen of the tests' own: on [raw], paint X Y W H, resize W H, reboot, heard, served, picture (to a file)."""
    there = host.guests.running[guest]
    if rest[0] == "on":
        there.screen = LonelyScreen(Painting(300, 200), packed="raw" not in rest)
    screen = there.screen
    numbers = [int(word) for word in rest[1:] if word.isdigit()]
    if rest[0] == "paint":
        screen.paint(*numbers)
    elif rest[0] == "resize":
        screen.resize(Painting(*numbers))
    elif rest[0] == "reboot":
        screen.reboot()
    elif rest[0] == "heard":
        return b"".join(screen.heard).hex()
    elif rest[0] == "served":
        return str(screen.served)
    elif rest[0] == "picture":
        Path(rest[1]).write_bytes(screen.painting.pixels)
    return "ok"


def change(engine: Engine, guests: int) -> None:
    """Each guest changes once, one after the other."""
    for number in range(guests):
        engine._events.emit("guest.started", f"guest/g{number}")
        time.sleep(0.001)


def act(engine: Engine, host: SimHost, word: str, rest: list[str]) -> str:
    if word == "change":
        threading.Thread(target=change, args=(engine, int(rest[0])), daemon=True).start()
        return "ok"
    console = host.guests.running[rest[0]].console
    if word == "count":
        threading.Thread(target=count, args=(console,), daemon=True).start()
    elif word == "flood":
        threading.Thread(target=flood, args=(console, int(rest[1])), daemon=True).start()
    elif word == "cut":
        console.close()
    elif word == "deaf":
        console.deaf = True
    elif word == "screen":
        return show(host, rest[0], rest[1:])
    elif word == "stop":
        engine.wait(engine.guest_action(rest[0], "stop", {}).id, 60)
    return "ok"


def count(console: object) -> None:
    number = 0
    while True:
        number += 1
        console.say(b"line %d\r\n" % number)
        time.sleep(0.005)


def flood(console: object, mebibytes: int) -> None:
    for _ in range(mebibytes * 16):
        console.say(b"x" * 65_536)
        time.sleep(0.002)
    console.say(b"flood ends\r\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
