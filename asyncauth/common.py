"""What a manager works with, and the managers of a pool have in common."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from asyncauth.clock import Clock
    from asyncauth.connections import Connections
    from asyncauth.listeners import Listeners
    from asyncauth.policy import RefreshPolicy

__all__ = ["Common"]


@attrs.frozen(eq=False)
class Common:
    """One object for all that 100,000 managers would hold one by one.

    Attributes:
        policy: When to renew, to give up, to try again.
        clock: What all moments are read from.
        connections: Where HTTP sessions come from.
        listeners: Who is told of events.
        guard: The lock of what a manager knows, held for moments, never while anything is awaited. Reentrant: a
            flight whose loop was closed is ended by the garbage collector, at any moment, and takes it.
    """

    policy: RefreshPolicy
    clock: Clock
    connections: Connections
    listeners: Listeners
    guard: threading.RLock = attrs.field(factory=threading.RLock)
