"""Storage on FreeBSD: OpenZFS, and nothing else."""

from ...zfs import FEATURES, HANDLERS, LONG, prepare, recover

__all__ = ["FEATURES", "HANDLERS", "LONG", "prepare", "recover"]
