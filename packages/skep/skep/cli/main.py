"""The entry point `skep`: a table of commands, each loaded only when it is called."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

COMMANDS: dict[str, tuple[str, str]] = {
    "adopt": ("adopt:adopt", "Take guests of another manager over (vm-bhyve), without copying."),
    "apply": ("site:apply", "Make the host what a site definition says."),
    "audit": ("user:audit", "Who changed what."),
    "completion": ("completion:completion", "Print the shell's completion script."),
    "disk": ("disk:disk", "Disks of guests: list, grow."),
    "doctor": ("host:doctor", "What works on this host and what does not."),
    "events": ("events:events", "What happens on the host."),
    "export": ("site:export", "Print the running host as site.toml."),
    "filter": ("objects:filter_", "Filters (security groups)."),
    "guest": ("guest:guest", "Guests: list, create, start, stop, console, ..."),
    "host": ("host:host", "The host itself."),
    "image": ("image:image", "Images: list, pull, publish, verify."),
    "network": ("objects:network", "Networks."),
    "operation": ("operation:operation", "Work of the server: list, wait, cancel, confirm."),
    "plan": ("site:plan", "Print what applying a site definition would do."),
    "port": ("objects:port", "Ports: connections of guests to networks."),
    "router": ("objects:router", "Routers."),
    "snapshot": ("snapshot:snapshot", "Snapshots of guests."),
    "token": ("token:token", "API tokens: create, list, revoke."),
    "top": ("top:top", "What running guests use, live."),
    "user": ("user:user", "Accounts of the web pages: list, create, delete, role, password, link, sessions."),
}


class LazyGroup(click.Group):
    """Lists its commands without loading them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"skep.cli.{module}"), attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(_unknown(args[0]), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, COMMANDS, 1)
    return f"there is no command {name!r}; " + (f"did you mean {close[0]!r}?" if close else "`skep --help` lists them")


def _version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib import metadata  # a third of the time of a short command

        click.echo(f"skep {metadata.version('skep')}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", metavar="URL", help="unix:/PATH or https://HOST[:PORT] (default: $SKEP_URL, this machine).")
@click.option("--ca", metavar="FILE", help="Certificate of the CA to trust (default: $SKEP_CA, ~/.config/skep/ca.pem).")
@click.option("--token-file", metavar="FILE", help="Where the token is (default: $SKEP_TOKEN, ~/.config/skep/token).")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
@click.pass_context
def skep(ctx: click.Context, url: str | None, ca: str | None, token_file: str | None) -> None:
    """Guests, disks and networks of a host."""
    from .session import Session

    ctx.obj = Session(url, ca, token_file)


def main() -> None:
    """Run; errors become `skep: what; what to do` on stderr and an exit code of sysexits(3)."""
    from .failures import report

    try:
        code = skep.main(standalone_mode=False, prog_name="skep")
    except BaseException as error:  # noqa: BLE001 - the one place where every error becomes a message
        code = report(error)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
