"""Streams of snapshots between hosts: sent and received part by part, resumable, and replicas promoted."""

from __future__ import annotations

from ...handlers import Handler
from ...vocabulary import (
    AbandonReceive,
    BookmarkSnapshot,
    EstimateSend,
    PromoteGuest,
    ReadReplica,
    ReceiveSnapshot,
    SendSnapshot,
)
from . import image, parts, promotion, receive, send

__all__ = ["HANDLERS", "LONG", "image"]

HANDLERS: dict[type, Handler] = {
    EstimateSend: send.estimate,
    SendSnapshot: send.send,
    ReceiveSnapshot: receive.receive,
    AbandonReceive: receive.abandon,
    ReadReplica: parts.read_replica,
    PromoteGuest: promotion.promote,
    BookmarkSnapshot: promotion.bookmark,
}
LONG: frozenset[type] = frozenset(HANDLERS) - {ReadReplica}
