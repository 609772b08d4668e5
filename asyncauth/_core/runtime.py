"""What an engine works with, and what the engines of a pool share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import attrs

from asyncauth._base.forks import new_guard
from asyncauth._core.outages import Outages
from asyncauth._core.sessions import SharedSessions
from asyncauth.errors import ConfigurationError
from asyncauth.policy import RefreshPolicy

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from asyncauth._core.listeners import Listeners
    from asyncauth._core.sessions import Sessions
    from asyncauth.clock import Clock

__all__ = ["Runtime", "check"]

_UPSTREAM_SHARE = 0.9
"""The part of its own deadline that an engine gives each engine it makes for an upstream provider."""


@attrs.frozen(eq=False, repr=False)
class Runtime:
    """Settings and services, in one object: the 100,000 engines of a pool need not hold each of them.

    Attributes:
        policy: The settings for renewing, giving up and trying again.
        clock: The clock for all times.
        random: Returns the random numbers for jitter and backoff.
        sessions: The HTTP sessions for token requests.
        listeners: The listeners for events, the same for a pool and its engines, and for all steps of a chain.
        guard: The lock over a manager's state. It is held briefly, and never across an ``await``. Reentrant: the
            garbage collector may end a flight whose loop was closed at any moment, and that takes the lock, too.
        outages: What the engines of a pool know of endpoints that are down; ``None``: not in a pool.
        intermediate: Whether another engine made this one, and uses its token as a credential.
    """

    policy: RefreshPolicy
    clock: Clock
    random: Callable[[], float]
    sessions: Sessions
    listeners: Listeners
    guard: threading.RLock = attrs.field(factory=new_guard)
    outages: Outages | None = None
    intermediate: bool = False

    @property
    def in_pool(self) -> bool:
        """Whether it belongs to a pool."""
        return self.outages is not None

    @property
    def owns_listeners(self) -> bool:
        """Whether closing what works with it ends the listeners: not for a pool's engines, nor for upstream ones."""
        return not (self.in_pool or self.intermediate)

    def shared(self) -> Runtime:
        """Return what a pool's engines work with: only the pool opens and closes it."""
        return attrs.evolve(self, sessions=SharedSessions(self.sessions), outages=Outages())

    def upstream(self) -> Runtime:
        """Return what the upstream engine works with, whose token is this engine's credential."""
        # Upstream ends first, so that it says what went wrong: our own deadline could not tell which step it was.
        policy = attrs.evolve(self.policy, idle_timeout=0.0, deadline=_UPSTREAM_SHARE * self.policy.deadline)
        return attrs.evolve(
            self,
            policy=policy,
            sessions=self.sessions.upstream(policy.deadline / 2),
            guard=new_guard(),
            intermediate=True,
        )


_STORE = ("load", "save", "delete", "lock")


def check(policy: object, http: object, clock: object, random: object, store: object) -> None:
    """Refuse arguments that neither a manager nor a pool can use.

    Raises:
        ConfigurationError: One of these is not what its name says.
    """
    if not isinstance(policy, RefreshPolicy):
        raise ConfigurationError(f"policy= takes a RefreshPolicy, not {_kind(policy)}")
    if http is not None and not isinstance(http, aiohttp.ClientSession) and not _is_function(http):
        raise ConfigurationError(
            f"http= takes an aiohttp.ClientSession or a function that makes one, not {_kind(http)}"
        )
    if clock is not None and not _has(clock, "wall", "monotonic", "sleep"):
        raise ConfigurationError(f"clock= takes a Clock, with wall(), monotonic() and sleep(), not {_kind(clock)}")
    if random is not None and not _is_function(random):
        raise ConfigurationError(
            f"random= takes a function that returns numbers from 0 to 1, such as random.random, not {_kind(random)}"
        )
    lacking = [] if store is None else [name for name in _STORE if not _has(store, name)]
    if len(lacking) == len(_STORE):
        raise ConfigurationError(
            f"store= takes a TokenStore, such as FileStore('tokens') or RedisStore('redis://…'), not {_kind(store)}"
        )
    if lacking:
        names = "() and no ".join(lacking)
        raise ConfigurationError(f"{_kind(store)} has no {names}()", advice="a store has load, save, delete and lock")


def _is_function(thing: object) -> bool:
    return callable(thing) and not isinstance(thing, type)


def _has(thing: object, *calls: str) -> bool:
    return not isinstance(thing, type) and all(callable(getattr(thing, call, None)) for call in calls)


def _kind(thing: object) -> str:
    return f"the class {thing.__name__}" if isinstance(thing, type) else type(thing).__name__
