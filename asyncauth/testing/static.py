"""A manager with a constant token, for tests of other code."""

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
    """Return a `TokenManager` that always has the same token, and makes no request.

    ::

        BearerAuth(static_manager("s3cret", origins="https://api.peakly.co"))

    An API 401 changes nothing: the manager keeps the token, and the caller receives the 401. To test what happens when
    tokens expire or get a 401, use a manager with a `FakeProvider`.

    Args:
        value: The token's value (default ``"test-token"``).
        origins: Where it may be sent: one or several, as ``origins=`` of the providers (default
            ``("https://api.example.com",)``).
        carried_as: Where requests carry it, see `asyncauth.ProviderOptions`.
        scheme: The text before it there, see `asyncauth.ProviderOptions`.

    Raises:
        ConfigurationError: The token can't be carried in this way.
        InvalidTokenResponse: The value is empty, or not valid in a header.
    """
    kept = (origins,) if isinstance(origins, str) else tuple(origins)
    provider = _StaticProvider(Token(value), kept, carried_as, scheme)
    engine = engine_of(TokenManager(provider))
    runtime = engine.runtime
    engine.state = state = _KeptState(runtime.policy, runtime.guard)
    now, wall = runtime.clock.monotonic(), runtime.clock.wall()
    state.cached = state.cached_from(
        provider.token,
        before=NOTHING,
        sent_at=now,
        now=now,
        wall=wall,
        unit_random=0.0,
        carrier=engine.options.carrier,
    )
    return manager_of(engine)


class _StaticProvider:
    """Returns always the same token."""

    name = "static"
    identity = None

    def __init__(self, token: Token, origins: tuple[str, ...], carried_as: str, scheme: str | None) -> None:
        self.token = token
        self.origins = origins
        self.carried_as, self.scheme = carried_as, scheme

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:  # noqa: ARG002
        return self.token


class _KeptState(TokenState):
    """The state of a token that no API 401 changes."""

    __slots__ = ()

    def invalidate(self, token: Token, *, repeat: bool, now: float) -> None:
        """Keep the token nevertheless."""

    def note_api_401(self, sent: CachedToken, *, repeat: bool, foreign: bool, again: bool, now: float) -> After401:  # noqa: ARG002
        """Keep the token nevertheless."""
        return After401(self.cached, self.failures.api_401s)
