"""Networks, ports, routers, filters: one set of commands for every kind of object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from skep.client import path

from .failures import COMMAND_LINE
from .options import change_options, json_option, name_argument, sure, take_over_option, yes_option
from .output import as_json, record, table
from .session import Session, pass_session
from .settings_text import TOML, definition, text_of
from .work import carry_out

Row = Callable[[dict[str, Any]], Sequence[Any]]
file_option = click.option("--file", "-f", type=click.Path(path_type=Path), help="A definition (TOML, or *.json).")


def list_command(plural: str, headers: Sequence[str], row: Row, right: Sequence[str] = ()) -> click.Command:
    @click.command("list", help=f"List {plural}.")
    @json_option
    @pass_session
    def list_(session: Session, as_json: bool) -> None:
        print_list(session.get(plural), headers, row, as_json, right)

    return list_


def print_list(found: list[Any], headers: Sequence[str], row: Row, json: bool, right: Sequence[str] = ()) -> None:
    if json:
        as_json(found)
    else:
        table(headers, map(row, found), right)


def show_command(plural: str) -> click.Command:
    @click.command("show", help="Show one: its definition and how it is.")
    @name_argument(plural)
    @json_option
    @click.option("--toml", is_flag=True, help="Print its definition as it may be given back by --file.")
    @pass_session
    def show(session: Session, name: str, as_json: bool, toml: bool) -> None:
        print_one(session, plural, name, as_json, toml)

    return show


def print_one(session: Session, plural: str, name: str, json: bool, toml: bool) -> None:
    if toml:
        answer = session.client.request("GET", path(plural, name), headers={"Accept": TOML["Content-Type"]})
        click.echo(answer.content.decode(), nl=False)
        return
    found = session.get(plural, name)
    if json:
        as_json(found)
    else:
        record(found)


def create_command(plural: str, kind: str, example: str) -> click.Command:
    @click.command(
        "create", help=f"Create a {kind}, from a file or from settings.\n\nE.g. skep {kind} create {example}"
    )
    @click.argument("name")
    @click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
    @file_option
    @change_options
    @pass_session
    def create(session: Session, name: str, settings: tuple[str, ...], file: Path | None, wait: bool) -> None:
        body, headers, source = definition(settings, file)
        new = {**headers, "If-None-Match": "*"}
        carry_out(session, "PUT", (plural, name), body, headers=new, query={"file": source}, wait=wait)

    return create


def set_command(plural: str, kind: str) -> click.Command:
    @click.command("set", help=f"Change a {kind}: some keys, or by --file the whole definition.")
    @name_argument(plural)
    @click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
    @file_option
    @take_over_option
    @change_options
    @pass_session
    def set_(
        session: Session, name: str, settings: tuple[str, ...], file: Path | None, take_over: bool, wait: bool
    ) -> None:
        change(session, (plural, name), settings, file, take_over, wait)

    return set_


def change(
    session: Session, words: tuple[str, ...], settings: tuple[str, ...], file: Path | None, take_over: bool, wait: bool
) -> None:
    """PATCH with settings, or PUT a whole definition over what is there."""
    if file is None and not settings:
        raise click.UsageError("nothing to change; give KEY=VALUE or --file")
    query: dict[str, Any] = {"take_over": take_over or None}
    if file is None:
        query["file"] = COMMAND_LINE
        carry_out(session, "PATCH", words, text_of(settings).encode(), headers=TOML, query=query, wait=wait)
        return
    body, headers, source = definition(settings, file)
    old = {**headers, "If-Match": "*"}
    carry_out(session, "PUT", words, body, headers=old, query={**query, "file": source}, wait=wait)


def delete_command(plural: str, kind: str) -> click.Command:
    @click.command("delete", help=f"Delete a {kind}.")
    @name_argument(plural)
    @take_over_option
    @yes_option
    @change_options
    @pass_session
    def delete(session: Session, name: str, take_over: bool, yes: bool, wait: bool) -> None:
        session.get(plural, name)  # a wrong name is told before anybody is asked
        sure(f"This deletes {kind} {name}.", yes)
        carry_out(session, "DELETE", (plural, name), query={"take_over": take_over or None}, wait=wait)

    return delete


def group(plural: str, kind: str, text: str, headers: Sequence[str], row: Row, example: str) -> click.Group:
    commands = (
        list_command(plural, headers, row),
        show_command(plural),
        create_command(plural, kind, example),
        set_command(plural, kind),
        delete_command(plural, kind),
    )
    return click.Group(kind, commands=list(commands), help=text)


def state(found: dict[str, Any]) -> Any:
    return found["status"].get("state")


network = group(
    "networks",
    "network",
    "Networks: isolated, nat, flat, vlan, vxlan.",
    ("NAME", "KIND", "STATE", "SUBNETS", "MANAGER"),
    lambda found: (
        found["name"],
        found["kind"],
        state(found),
        [subnet["prefix"] for subnet in found["subnets"]],
        found["manager"],
    ),
    """lan kind=isolated 'subnet=[{prefix="10.0.0.0/24", own="10.0.0.1"}]'""",
)
port = group(
    "ports",
    "port",
    "Ports: connections of guests to networks.",
    ("NAME", "NETWORK", "GUEST", "STATE", "MAC", "ADDRESSES", "FILTERS", "MANAGER"),
    lambda found: (
        found["name"],
        found["network"],
        found["guest"],
        state(found),
        found["mac"] or found["status"].get("mac"),
        found["addresses"] or found["status"].get("addresses"),
        found["filters"],
        found["manager"],
    ),
    "web.0 network=lan guest=web addresses=10.0.0.5",
)
router = group(
    "routers",
    "router",
    "Routers: a leg in each network, NAT, floating addresses, forwards.",
    ("NAME", "STATE", "NETWORKS", "FLOATING", "MANAGER"),
    lambda found: (
        found["name"],
        state(found),
        [leg["network"] for leg in found["legs"]],
        [outside for outside, _ in found["floating"]],
        found["manager"],
    ),
    """edge 'leg=[{network="lan", addresses="10.0.0.254/24"}]'""",
)
filter_ = group(
    "filters",
    "filter",
    "Filters (security groups): what a port may receive and send.",
    ("NAME", "RULES", "DESCRIPTION", "MANAGER"),
    lambda found: (found["name"], len(found["rules"]), found["description"], found["manager"]),
    """web 'rules=["in tcp 443", "out any"]'""",
)
