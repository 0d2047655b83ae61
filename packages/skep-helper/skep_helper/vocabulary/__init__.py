"""The helper's vocabulary: every request that the root side answers, as frozen dataclasses.

This is the seam between the platforms (DESIGN section 3): skepd's platform modules build these requests, the helper
of a host carries them out, the simulated host answers the same ones in memory. Field types carry their own checks
(``fields``), so a request that decodes is well-formed; whether it is allowed is the policy's business.
"""

from .adoption import AdoptDisk, AdoptVariables, ReadVmBhyve, VmBhyveDisk, VmBhyveGuest, VmBhyveReading
from .fields import Rejected
from .guest import (
    GuestReading,
    GuestSpec,
    OpenAgent,
    OpenConsole,
    OpenScreen,
    PauseGuest,
    Probe,
    ProbeReading,
    ReadConsole,
    ReadGuests,
    ResetGuest,
    ResumeGuest,
    StartGuest,
    StopGuest,
)
from .host import Cancel, Feature, Hello, HelloReading
from .inventory import DriveReading, InventoryReading, PoolReading, ReadInventory
from .network import (
    ApplyNetwork,
    ApplyPort,
    ApplyRouter,
    FilterRule,
    NetworkReading,
    NetworkSpec,
    PortSpec,
    ReadNetworks,
    RemoveNetwork,
    RemovePort,
    RemoveRouter,
    RouterSpec,
    SetGroup,
)
from .storage import (
    AbandonImage,
    ChangesReading,
    CompareSnapshot,
    CreateDisk,
    CreateGuestFolder,
    DiskChanges,
    DiskReading,
    EmptyTrash,
    FolderReading,
    GrowDisk,
    ImageReading,
    OpenImageWriter,
    PublishImage,
    ReadStorage,
    RemoveDisk,
    RemoveImage,
    RemoveSnapshot,
    RollBackGuest,
    SnapshotGuest,
    StorageReading,
    TrashGuestFolder,
    UntrashGuestFolder,
    WriteSeed,
)
from .streams import (
    AbandonReceive,
    BookmarkSnapshot,
    EstimateSend,
    PartReading,
    PromoteGuest,
    ReadReplica,
    ReceiveImage,
    ReceiveSnapshot,
    ReplicaReading,
    SendEstimate,
    SendSnapshot,
    SnapshotStream,
    StreamPoint,
)
from .usage import ClockReading, GuestUsage, HostUsage, PortUsage, ReadUsage, UplinkUsage, UsageReading

__all__ = [
    "AbandonImage", "AbandonReceive", "AdoptDisk", "AdoptVariables", "ApplyNetwork", "ApplyPort", "ApplyRouter",
    "BookmarkSnapshot", "Cancel", "ChangesReading", "ClockReading", "CompareSnapshot", "CreateDisk",
    "CreateGuestFolder", "DiskChanges", "DiskReading", "DriveReading", "EmptyTrash", "EstimateSend", "Feature",
    "FilterRule", "FolderReading", "GrowDisk", "GuestReading", "GuestSpec", "GuestUsage", "Hello", "HelloReading",
    "HostUsage", "ImageReading", "InventoryReading", "NetworkReading", "NetworkSpec", "OpenAgent", "OpenConsole",
    "OpenImageWriter", "OpenScreen", "PartReading", "PauseGuest", "PoolReading", "PortSpec", "PortUsage", "Probe",
    "ProbeReading", "PromoteGuest", "PublishImage", "ReadConsole", "ReadGuests", "ReadInventory", "ReadNetworks",
    "ReadReplica", "ReadStorage", "ReadUsage", "ReadVmBhyve", "ReceiveImage", "ReceiveSnapshot", "Rejected",
    "RemoveDisk", "RemoveImage", "RemoveNetwork", "RemovePort", "RemoveRouter", "RemoveSnapshot", "ReplicaReading",
    "ResetGuest", "ResumeGuest", "RollBackGuest", "RouterSpec", "SendEstimate", "SendSnapshot", "SetGroup",
    "SnapshotGuest", "SnapshotStream", "StartGuest", "StopGuest", "StorageReading", "StreamPoint", "TrashGuestFolder",
    "UntrashGuestFolder", "UplinkUsage", "UsageReading", "VmBhyveDisk", "VmBhyveGuest", "VmBhyveReading", "WriteSeed",
]  # fmt: skip
