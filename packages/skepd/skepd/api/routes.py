"""The route table of /v1: every door of the API, who may pass, what goes in and what comes out."""

from __future__ import annotations

from skep import consoles as shapes
from skep import moving as moves
from skep import readings, wire

from skepd.engine.exposition import MEDIA
from skepd.model import objects as model
from skepd.model.names import Kind

from . import adoption, guests, moving, objects, records, sessions, site, usage, users
from .consoles import handlers as consoles
from .route import Route

KINDS: tuple[tuple[str, Kind, type], ...] = (
    ("guests", Kind.GUEST, model.Guest),
    ("networks", Kind.NETWORK, model.Network),
    ("ports", Kind.PORT, model.Port),
    ("routers", Kind.ROUTER, model.Router),
    ("filters", Kind.FILTER, model.Filter),
    ("images", Kind.IMAGE, model.Image),
)

ACTIONS: tuple[tuple[str, str, type], ...] = (
    ("start", "Start a guest.", wire.NoOptions),
    ("stop", "Stop a guest in an orderly way.", wire.StopOptions),
    ("restart", "Stop a guest and start it again, with its present definition.", wire.StopOptions),
    ("reset", "Reset a guest at once, like its reset button.", wire.NoOptions),
    ("pause", "Halt a guest's CPUs.", wire.NoOptions),
    ("resume", "Let a paused guest's CPUs go on.", wire.NoOptions),
    ("grow", "Grow a disk of a guest.", wire.GrowOptions),
    ("clone", "Make a copy of a stopped guest under another name.", wire.CloneOptions),
)


def _definitions(plural: str, kind: Kind, shape: type) -> tuple[Route, ...]:
    name, path = kind.value, f"/v1/{plural}"
    one = path + "/{name}"
    return (
        Route(
            method="GET",
            path=path,
            summary=f"All {plural}.",
            role="viewer",
            answer=shape,
            many=True,
            handler=objects.lister(kind),
        ),
        Route(
            method="GET",
            path=one,
            summary=f"One {name}: its definition, etag and status.",
            role="viewer",
            answer=shape,
            handler=objects.getter(kind),
        ),
        Route(
            method="PUT",
            path=one,
            summary=f"Define or change a {name} and carry it out.",
            role="admin",
            body=shape,
            query=wire.ChangeQuery,
            answer=wire.Operation,
            conditional=True,
            handler=objects.putter(kind),
        ),
        Route(
            method="PATCH",
            path=one,
            summary=f"Change some keys of a {name}'s definition.",
            role="admin",
            body=shape,
            query=wire.ChangeQuery,
            answer=wire.Operation,
            conditional=True,
            handler=objects.patcher(kind),
        ),
        Route(
            method="DELETE",
            path=one,
            summary=f"Delete a {name}.",
            role="admin",
            query=wire.ChangeQuery,
            answer=wire.Operation,
            conditional=True,
            handler=objects.deleter(kind),
        ),
    )


def _action(verb: str, summary: str, options: type) -> Route:
    return Route(
        method="POST",
        path=f"/v1/guests/{{name}}/actions/{verb}",
        summary=summary,
        role="operator",
        body=options,
        query=wire.WorkQuery,
        answer=wire.Operation,
        handler=guests.action(verb),
    )


HOST = (
    Route(
        method="GET", path="/v1/host", summary="The host: facts and status.", role="viewer", answer=readings.Host,
        handler=site.host,
    ),
    Route(
        method="GET", path="/v1/host/inventory", role="viewer", answer=readings.Inventory, handler=site.inventory,
        summary="The machine: CPU, memory, NICs, disks with SMART, pools, boot environments. May take seconds.",
    ),
    Route(
        method="GET", path="/v1/doctor", summary="What works on this host and what does not.", role="viewer",
        answer=readings.Check, many=True, handler=site.doctor,
    ),
    Route(
        method="POST", path="/v1/plan", summary="What applying a site definition would do.", role="viewer",
        body=wire.SiteText, answer=wire.Plan, handler=site.plan,
    ),
    Route(
        method="POST", path="/v1/apply", summary="Make the host what a site definition says.", role="admin",
        body=wire.ApplyRequest, query=wire.WaitQuery, answer=wire.Operation, handler=site.apply,
    ),
    Route(
        method="GET", path="/v1/export", summary="The running host as site.toml.", role="viewer", answer=bytes,
        media="application/toml", handler=site.export,
    ),
    Route(
        method="POST", path="/v1/host/prepare", role="admin", body=wire.PrepareRequest, answer=readings.Need, many=True,
        summary="What the machine of a site needs of its administrator: lines of its files, and commands.",
        handler=site.prepare,
    ),
    Route(
        method="POST", path="/v1/host/down", role="admin", query=wire.WaitQuery, answer=wire.Operation,
        summary="Stop all guests and take networks away, keeping definitions and disks, until skepd starts anew.",
        handler=site.down,
    ),
)  # fmt: skip

USAGE = (
    Route(
        method="GET", path="/metrics", summary="Counters and gauges for Prometheus.", role="viewer", answer=bytes,
        media=MEDIA, handler=usage.exposition,
    ),
    Route(
        method="GET", path="/v1/health", summary="The host at a glance: whether all is well, and what to do.",
        role="viewer", answer=readings.Health, handler=usage.health,
    ),
    Route(
        method="GET", path="/v1/guests/{name}/metrics", summary="What a guest used.", role="viewer",
        query=readings.SpanQuery, answer=readings.Metrics, handler=usage.guest_metrics,
    ),
    Route(
        method="GET", path="/v1/host/metrics", summary="What the host used.", role="viewer", query=readings.SpanQuery,
        answer=readings.Metrics, handler=usage.host_metrics,
    ),
)  # fmt: skip

ADOPTION = (
    Route(
        method="POST", path="/v1/adoption/vm-bhyve/plan", role="admin", body=wire.AdoptRequest, answer=wire.Adoption,
        summary="Guests of vm-bhyve, and what taking them over would do.", handler=adoption.plan,
    ),
    Route(
        method="POST", path="/v1/adoption/vm-bhyve", role="admin", body=wire.AdoptRequest, query=wire.WaitQuery,
        answer=wire.Operation, summary="Take guests of vm-bhyve over, without copying.", handler=adoption.adopt,
    ),
    Route(
        method="POST", path="/v1/adoption/vm-bhyve/return/plan", role="admin", body=wire.ReturnRequest,
        answer=wire.Plan, summary="What giving adopted guests back would do.", handler=adoption.plan_return,
    ),
    Route(
        method="POST", path="/v1/adoption/vm-bhyve/return", role="admin", body=wire.ReturnRequest,
        query=wire.WaitQuery, answer=wire.Operation, summary="Give adopted guests back to vm-bhyve.",
        handler=adoption.give_back,
    ),
)  # fmt: skip

GUESTS = (
    Route(
        method="POST", path="/v1/definitions", summary="Define or change several objects and carry it out as one.",
        role="admin", body=wire.Definitions, query=wire.ChangeQuery, answer=wire.Operation, conditional=True,
        handler=objects.define,
    ),
    Route(
        method="GET", path="/v1/disks", summary="All disks of all guests.", role="viewer", answer=readings.GuestDisk,
        many=True, handler=objects.disks,
    ),
    Route(
        method="GET", path="/v1/guests/{name}/serial", summary="History of a guest's serial line.", role="viewer",
        query=wire.SerialQuery, answer=bytes, media="application/octet-stream", handler=guests.serial,
    ),
    Route(
        method="GET", path="/v1/guests/{name}/console", summary="A guest's serial line, live; writing needs operator.",
        role="viewer", query=shapes.ConsoleQuery, answer=None, websocket="binary: the line; text: notices",
    ),
    Route(
        method="GET", path="/v1/guests/{name}/screen", summary="A guest's screen; keyboard and mouse need operator.",
        role="viewer", query=shapes.ScreenQuery, answer=None, websocket="binary frames: RFB 3.8, without a password",
    ),
    Route(
        method="GET", path="/v1/guests/{name}/consoles", summary="Who has a guest's line and screen open.",
        role="viewer", answer=shapes.OpenedConsole, many=True, handler=consoles.opened,
    ),
    Route(
        method="POST", path="/v1/guests/{name}/tickets", role="viewer", body=shapes.TicketRequest, answer=shapes.Ticket,
        status=201, handler=consoles.issue, summary="A ticket that opens a console once, within 30 s, from this page.",
    ),
    Route(
        method="GET", path="/v1/guests/{name}/snapshots", summary="Snapshots of a guest.", role="viewer",
        answer=wire.Snapshot, many=True, handler=guests.snapshots,
    ),
    Route(
        method="POST", path="/v1/guests/{name}/snapshots", summary="Snapshot all disks of a guest at one instant.",
        role="operator", body=wire.NewSnapshot, query=wire.WorkQuery, answer=wire.Operation,
        handler=guests.create_snapshot,
    ),
    Route(
        method="GET", path="/v1/guests/{name}/snapshots/{snapshot}", summary="One snapshot.", role="viewer",
        answer=wire.Snapshot, handler=guests.snapshot,
    ),
    Route(
        method="GET", path="/v1/guests/{name}/snapshots/{snapshot}/changes", role="viewer",
        summary="What changed since a snapshot, and what a rollback would lose.", answer=readings.SnapshotChanges,
        handler=guests.changes,
    ),
    Route(
        method="DELETE", path="/v1/guests/{name}/snapshots/{snapshot}", summary="Remove a snapshot.", role="operator",
        query=wire.WorkQuery, answer=wire.Operation, handler=guests.remove_snapshot,
    ),
    Route(
        method="POST", path="/v1/guests/{name}/snapshots/{snapshot}/rollback", role="operator",
        summary="Bring a guest's disks and UEFI variables back to a snapshot.", body=wire.RollbackOptions,
        query=wire.WorkQuery, answer=wire.Operation, handler=guests.roll_back,
    ),
    Route(
        method="POST", path="/v1/images/{name}/pull", summary="Fetch and verify an image.", role="admin",
        body=wire.PullRequest, query=wire.ChangeQuery, answer=wire.Operation, handler=objects.pull_image,
    ),
)  # fmt: skip

MOVING = (
    Route(
        method="GET", path="/v1/guests/{name}/snapshots/{snapshot}/stream", role="admin", query=moves.StreamQuery,
        answer=bytes, media="application/octet-stream",
        summary="A part of a guest's snapshot as a ZFS stream, whole or since another one. The header Skep-Size tells "
        "about how long it is; one that failed is cut.",
    ),
    Route(
        method="GET", path="/v1/guests/{name}/replica", role="admin", answer=moves.Replica, handler=moving.replica,
        summary="What there is of a guest: its parts, where streams may begin and end, tokens of interrupted ones.",
    ),
    Route(
        method="PUT", path="/v1/guests/{name}/replica/{snapshot}", role="admin", query=moves.ReceiveQuery,
        body=bytes, answer=None, status=204,
        summary="Take a ZFS stream of a part into a replica. What was interrupted stays, and may be resumed.",
    ),
    Route(
        method="DELETE", path="/v1/guests/{name}/replica", role="admin", query=moves.PartQuery, answer=None, status=204,
        summary="Throw away what an interrupted stream brought.", handler=moving.abandon,
    ),
    Route(
        method="POST", path="/v1/guests/{name}/replica/promote", role="admin", body=moves.Promotion,
        query=wire.WaitQuery, answer=wire.Operation, handler=moving.promote,
        summary="Make a replica a guest of this host, off, with this definition and these ports.",
    ),
)  # fmt: skip

WORK = (
    Route(
        method="GET", path="/v1/operations", summary="Operations, newest first.", role="viewer",
        query=wire.LimitQuery, answer=wire.Operation, many=True, handler=site.operations,
    ),
    Route(
        method="GET", path="/v1/operations/{id}", summary="One operation: steps, progress, log.", role="viewer",
        query=wire.WaitQuery, answer=wire.Operation, handler=site.operation,
    ),
    Route(
        method="POST", path="/v1/operations/{id}/cancel", summary="Cancel an operation and undo what it did.",
        role="operator", query=wire.WaitQuery, answer=wire.Operation, handler=site.cancel,
    ),
    Route(
        method="POST", path="/v1/operations/{id}/confirm", summary="Confirm a change that could have cut the line.",
        role="admin", query=wire.WaitQuery, answer=wire.Operation, handler=site.confirm,
    ),
    Route(
        method="GET", path="/v1/events", summary="Past events; live as text/event-stream or over WebSocket.",
        role="viewer", query=wire.EventsQuery, answer=wire.Event, many=True, websocket="text frames: events",
    ),
)  # fmt: skip

ACCESS = (
    Route(
        method="GET", path="/v1/users/me", summary="Who the server takes you for.", role="viewer",
        answer=wire.Caller, handler=users.me,
    ),
    Route(
        method="GET", path="/v1/users", summary="All accounts.", role="admin", answer=wire.UserView, many=True,
        handler=users.users,
    ),
    Route(
        method="POST", path="/v1/users", summary="Make an account.", role="admin", body=wire.NewUser,
        answer=wire.UserView, status=201, handler=users.create,
    ),
    Route(
        method="GET", path="/v1/users/{name}", summary="One account: one's own, or any for an administrator.",
        role="viewer", answer=wire.UserView, handler=users.user,
    ),
    Route(
        method="PATCH", path="/v1/users/{name}", summary="Change a user's role.", role="admin", body=wire.UserChange,
        answer=wire.UserView, handler=users.change,
    ),
    Route(
        method="DELETE", path="/v1/users/{name}", summary="Delete an account.", role="admin", answer=None, status=204,
        handler=users.delete,
    ),
    Route(
        method="PUT", path="/v1/users/{name}/password", summary="Set a password; the user's other sessions end.",
        role="viewer", body=wire.NewPassword, answer=None, status=204, handler=users.set_password,
    ),
    Route(
        method="POST", path="/v1/users/{name}/passkeys/begin", summary="Begin to make a passkey of one's own.",
        role="viewer", body=wire.NoOptions, answer=wire.PasskeyOptions, handler=users.begin_passkey,
    ),
    Route(
        method="POST", path="/v1/users/{name}/passkeys", summary="Add a passkey to one's own account.", role="viewer",
        body=wire.NewPasskey, answer=wire.PasskeyView, status=201, handler=users.add_passkey,
    ),
    Route(
        method="DELETE", path="/v1/users/{name}/passkeys/{id}", summary="Remove a passkey.", role="viewer",
        answer=None, status=204, handler=users.remove_passkey,
    ),
    Route(
        method="GET", path="/v1/audit", summary="Who changed what, newest first.", role="admin",
        query=wire.AuditQuery, answer=wire.AuditRecord, many=True, handler=records.audit,
    ),
    Route(
        method="GET", path="/v1/tokens", summary="API tokens, without their secrets.", role="admin",
        answer=wire.Token, many=True, handler=site.tokens,
    ),
    Route(
        method="POST", path="/v1/tokens", summary="Make an API token; its secret is shown this once.", role="admin",
        body=wire.NewToken, answer=wire.CreatedToken, status=201, handler=site.create_token,
    ),
    Route(
        method="DELETE", path="/v1/tokens/{id}", summary="Revoke an API token.", role="admin", answer=None, status=204,
        handler=site.revoke_token,
    ),
)  # fmt: skip

SIGN_IN = (
    Route(
        method="GET", path="/v1/setup", summary="Whether a link that makes an administrator is outstanding.",
        role=None, answer=wire.SetupState, handler=sessions.setup_state,
    ),
    Route(
        method="POST", path="/v1/setup", summary="Use the one-time link: make an administrator and sign in.",
        role=None, body=wire.Setup, answer=wire.Caller, status=201, handler=sessions.set_up,
    ),
    Route(
        method="POST", path="/v1/setup/link", summary="Make a new one-time link; on the host's socket only.",
        role="admin", answer=wire.SetupLink, status=201, handler=sessions.make_link,
    ),
    Route(
        method="POST", path="/v1/sessions", summary="Sign in.", role=None, body=wire.SignIn, answer=wire.Caller,
        status=201, handler=sessions.sign_in,
    ),
    Route(
        method="POST", path="/v1/sessions/passkey/begin", summary="Begin to sign in with a passkey.", role=None,
        body=wire.PasskeyBegin, answer=wire.PasskeyOptions, handler=sessions.begin_passkey,
    ),
    Route(
        method="POST", path="/v1/sessions/passkey", summary="Sign in with a passkey.", role=None,
        body=wire.PasskeySignIn, answer=wire.Caller, status=201, handler=sessions.sign_in_by_passkey,
    ),
    Route(
        method="GET", path="/v1/sessions", summary="Sessions: one's own, or all for an administrator.", role="viewer",
        answer=wire.SessionView, many=True, handler=sessions.sessions,
    ),
    Route(
        method="DELETE", path="/v1/sessions/{id}", summary="End a session; `current`: sign out.", role="viewer",
        answer=None, status=204, handler=sessions.end_session,
    ),
)  # fmt: skip

ROUTES: tuple[Route, ...] = (
    *HOST,
    *(route for kind in KINDS for route in _definitions(*kind)),
    *(_action(*action) for action in ACTIONS),
    *USAGE,
    *ADOPTION,
    *GUESTS,
    *MOVING,
    *WORK,
    *SIGN_IN,
    *ACCESS,
)
