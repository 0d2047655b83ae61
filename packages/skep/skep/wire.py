"""What travels between client and server besides the objects themselves.

Definitions of objects (guest, network, ...) travel as JSON with the fields of the server's model, plus `etag` and
`status`. Everything else is here. Answers tolerate keys they do not know (a newer server); requests do not.
Times are seconds since 1970, sizes are bytes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")
"""From the weakest to the strongest; each may do what those before it may."""

Wait = Annotated[int, Meta(ge=0, le=3600, description="Seconds to wait for the end of the operation.")]
Text = Annotated[str, Meta(max_length=4 << 20)]
Word = Annotated[str, Meta(min_length=1, max_length=255)]
Bytes = Annotated[int, Meta(ge=1, le=1 << 62)]
Seconds = Annotated[int, Meta(ge=0, le=86_400)]
Offset = Annotated[int, Meta(ge=-1, le=1 << 62)]


class Place(Struct, kw_only=True, omit_defaults=True):
    """One error of a definition: what is wrong, where, and what to write instead."""

    detail: str
    hint: str = ""
    file: str = ""
    line: int = 0


class Problem(Struct, kw_only=True, omit_defaults=True):
    """RFC 9457 problem details. detail: what happened, to which object; hint: what to do next.

    errors: all that is wrong with a definition; the first of them is in the other fields too.
    """

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    hint: str = ""
    file: str = ""
    line: int = 0
    errors: tuple[Place, ...] = ()


class StepState(Struct, kw_only=True):
    summary: str
    state: str
    done: int = 0
    total: int = 0


class Operation(Struct, kw_only=True):
    """Long work. state: queued, running, confirming, done, failed, cancelled or undone."""

    id: str
    title: str
    state: str
    manager: str
    created: float
    ended: float = 0.0
    error: str = ""
    steps: tuple[StepState, ...] = ()
    log: tuple[str, ...] = ()
    confirm_before: float = 0.0


UNENDED = frozenset({"queued", "running", "confirming"})
"""States in which an operation may still change."""


class Event(Struct, kw_only=True):
    number: int
    time: float
    kind: str
    ref: str
    data: dict[str, Any] = {}


class Snapshot(Struct, kw_only=True):
    """frozen: whether the guest agent froze the file systems."""

    name: str
    created: float = 0.0
    frozen: bool = False
    disks: tuple[str, ...] = ()


class PlanStep(Struct, kw_only=True):
    verb: str
    ref: str
    summary: str
    stage: int


class PlanNote(Struct, kw_only=True):
    ref: str | None
    text: str
    refuses: bool


class Plan(Struct, kw_only=True):
    """confirm: whether the plan can cut the line to the host, so that it must be confirmed."""

    steps: tuple[PlanStep, ...]
    notes: tuple[PlanNote, ...]
    confirm: bool


class AdoptionFinding(Struct, kw_only=True):
    """text: names file and line. refuses: whether the guest cannot be taken over because of this."""

    text: str
    refuses: bool


class AdoptedGuest(Struct, kw_only=True):
    """source: its name in vm-bhyve. definition: as TOML, empty when refused. disks: datasets by disk name."""

    source: str
    name: str
    possible: bool
    definition: str
    disks: dict[str, str]
    findings: tuple[AdoptionFinding, ...]


class Adoption(Struct, kw_only=True):
    """networks: definitions of those that would be made. already: guests of Skep by name in vm-bhyve."""

    guests: tuple[AdoptedGuest, ...]
    networks: dict[str, str]
    already: dict[str, str]
    plan: Plan


class Token(Struct, kw_only=True):
    """An API token without its secret."""

    id: str
    name: str
    role: Role
    created: float


class CreatedToken(Token, kw_only=True):
    """secret: shown this once; the server keeps its digest only."""

    secret: str


class Caller(Struct, kw_only=True):
    """Who the server takes the caller for. via: "socket", "token" or "session"."""

    name: str
    role: Role
    via: str


class SetupState(Struct, kw_only=True):
    """open: whether a link that makes an administrator waits to be used."""

    open: bool


class SetupLink(Struct, kw_only=True):
    """url: opens the page that makes an administrator, once, until `expires`."""

    url: str
    expires: float


class SessionView(Struct, kw_only=True):
    """A browser that is signed in. peer: its address; agent: what it calls itself; current: the one that asks."""

    id: str
    user: str
    role: Role
    created: float
    seen: float
    peer: str
    agent: str
    current: bool


class PasskeyView(Struct, kw_only=True):
    """place: the host name of the page that it belongs to."""

    id: str
    name: str
    place: str
    created: float
    used: float


class PasskeyOptions(Struct, kw_only=True):
    """What the browser's navigator.credentials is called with, its bytes as base64url."""

    publicKey: dict[str, Any]


class UserView(Struct, kw_only=True):
    """An account. locked: seconds for which its password is not taken from elsewhere, after too many failures."""

    name: str
    role: Role
    created: float
    password: bool
    locked: float
    passkeys: tuple[PasskeyView, ...]


class AuditRecord(Struct, kw_only=True):
    """One call that changed something, or tried to. who: empty for nobody known; of a refused sign-in the
    name that was tried. ref: the path below /v1/."""

    number: int
    time: float
    who: str
    via: str
    peer: str
    action: str
    ref: str
    outcome: str


# --- requests ---------------------------------------------------------------------------------------------------


class Request(Struct, kw_only=True, forbid_unknown_fields=True):
    """A body or query. An unknown key is an error."""


Several = Annotated[tuple[dict[str, Any], ...], Meta(max_length=1000)]


class Definitions(Request, kw_only=True):
    """Definitions with their names, and with their etags where they are to be changed only as they were read."""

    networks: Several = ()
    filters: Several = ()
    ports: Several = ()
    routers: Several = ()
    guests: Several = ()


class NoOptions(Request, kw_only=True):
    pass


class StopOptions(Request, kw_only=True):
    """timeout: of the orderly shutdown; None: what the guest's definition says. force: end it after that."""

    timeout: Seconds | None = None
    force: bool = True


class GrowOptions(Request, kw_only=True):
    disk: Word
    size: Bytes


class CloneOptions(Request, kw_only=True):
    target: Word


class NewSnapshot(Request, kw_only=True):
    name: Word
    quiesce: bool = True


class RollbackOptions(Request, kw_only=True):
    """start: whether to start the guest again afterwards."""

    start: bool = False


class PullRequest(Request, kw_only=True):
    version: Word
    sources: Annotated[tuple[Word, ...], Meta(min_length=1, max_length=16)]


class SiteText(Request, kw_only=True):
    """A site definition. file: its name as errors shall print it."""

    text: Text
    file: Word = "site.toml"


class ApplyRequest(SiteText, kw_only=True):
    """restart: whether guests may be restarted for changes that need it."""

    restart: bool = False


class PrepareRequest(SiteText, kw_only=True):
    """check: whether to look at the server's machine, and to say which of it is there."""

    check: bool = False


class AdoptRequest(Request, kw_only=True):
    """names: in vm-bhyve, none for all. profile: of all of them. networks: networks of Skep by switch."""

    names: Annotated[tuple[Word, ...], Meta(max_length=1000)] = ()
    profile: Word | None = None
    networks: dict[Word, Word] = {}


class ReturnRequest(Request, kw_only=True):
    names: Annotated[tuple[Word, ...], Meta(min_length=1, max_length=1000)]


class NewToken(Request, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=64, pattern="^[A-Za-z0-9._@-]+$")]
    role: Role


Password = Annotated[str, Meta(min_length=1, max_length=1024)]
UserName = Annotated[str, Meta(min_length=1, max_length=64)]


class Setup(Request, kw_only=True):
    """secret: what follows `#` in the link."""

    secret: Word
    name: UserName
    password: Password


class SignIn(Request, kw_only=True):
    name: UserName
    password: Password


class PasskeyBegin(Request, kw_only=True):
    """name: not needed; the device knows whose key it has."""

    name: str = ""


class PasskeySignIn(Request, kw_only=True):
    """credential: what navigator.credentials.get() gave, its bytes as base64url."""

    credential: dict[str, Any]


class NewPasskey(Request, kw_only=True):
    """name: what its user calls it. credential: what navigator.credentials.create() gave, its bytes as base64url."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    credential: dict[str, Any]


class NewUser(Request, kw_only=True):
    """password: none for a user who gets one later."""

    name: UserName
    role: Role
    password: Password | None = None


class UserChange(Request, kw_only=True):
    role: Role


class NewPassword(Request, kw_only=True):
    """old: needed where a user changes his own."""

    password: Password
    old: Password | None = None


# --- queries ----------------------------------------------------------------------------------------------------


class NoQuery(Request, kw_only=True):
    pass


class WaitQuery(Request, kw_only=True):
    wait: Wait = 0


class WorkQuery(WaitQuery, kw_only=True):
    """dry_run: answer with the plan, and do nothing."""

    dry_run: bool = False


class ChangeQuery(WorkQuery, kw_only=True):
    """manager: on whose behalf; take_over: change the object although another manager owns it.

    file: what errors shall call the text of a definition sent as TOML.
    """

    manager: Literal["user", "openstack"] = "user"
    take_over: bool = False
    file: Word = "definition"


class LimitQuery(Request, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 100


class AuditQuery(Request, kw_only=True):
    """before: only records with a lower number; 0: the newest."""

    before: Annotated[int, Meta(ge=0, le=1 << 62)] = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class EventsQuery(Request, kw_only=True):
    """after: only events with a higher number; -1: only those from now on."""

    after: Offset = 0
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1000


class SerialQuery(Request, kw_only=True):
    """offset -1: the last `length` bytes."""

    offset: Offset = -1
    length: Annotated[int, Meta(ge=1, le=1 << 20)] = 65_536
