"""A manager for tests that are about something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncauth._core.api_401s import After401
from asyncauth._core.cache import TokenState
from asyncauth._core.cached_token import NOTHING, CachedToken
from asyncauth.manager import TokenManager, engine_of, manager_of
from asyncauth.token import Token

if TYPE_CHECKING:
    from collections.abc import Iterable

    import aiohttp

__all__ = ["static_manager"]


def static_manager(
    value: str = "test-token",
    *,
    origins: str | Iterable[str] = ("https://api.example.com",),
    carried_as: str = "header:Authorization",
    scheme: str | None = None,
) -> TokenManager:
    """Return a `TokenManager` that has one token, for ever, and makes no request.

    ::

        BearerAuth(static_manager("s3cret", origins="https://api.peakly.co"))

    A refusal changes nothing: after a 401 the token is still there, and the caller gets the 401. For what happens
    when tokens end or are refused give a manager a `FakeProvider`.

    Args:
        value: The token's value.
        origins: Where it may be sent: one or several, as ``origins=`` of the providers.
        carried_as: Where requests carry it, see `asyncauth.ProviderOptions`.
        scheme: What stands before it there, see the same.

    Raises:
        ConfigurationError: It can't be carried so.
        InvalidTokenResponse: The value is empty, or can't travel in a header.
    """
    kept = (origins,) if isinstance(origins, str) else tuple(origins)
    provider = _StaticProvider(Token(value), kept, carried_as, scheme)
    engine = engine_of(TokenManager(provider))
    runtime = engine.runtime
    engine.state = state = _KeptState(runtime.policy, runtime.guard, engine.options.carrier)
    now, wall = runtime.clock.monotonic(), runtime.clock.wall()
    state.cached = state.cached_from(provider.token, before=NOTHING, sent_at=now, now=now, wall=wall, unit_random=0.0)
    return manager_of(engine)


class _StaticProvider:
    """Gives one token."""

    name = "static"
    identity = None

    def __init__(self, token: Token, origins: tuple[str, ...], carried_as: str, scheme: str | None) -> None:
        self.token = token
        self.origins = origins
        self.carried_as, self.scheme = carried_as, scheme

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:  # noqa: ARG002
        return self.token


class _KeptState(TokenState):
    """The state of a token that no refusal changes."""

    __slots__ = ()

    def invalidate(self, token: Token, *, repeat: bool, now: float) -> None:
        """Keep it all the same."""

    def note_api_401(self, sent: CachedToken, *, repeat: bool, foreign: bool, again: bool, now: float) -> After401:  # noqa: ARG002
        """Keep it all the same."""
        return After401(self.cached, self.failures.api_401s)
