"""Revocation: which of a manager's tokens are to be revoked, and one after another is (RFC 7009)."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING

import attrs

from asyncauth._base.printable import name_of
from asyncauth._core.flight_endings import finish
from asyncauth._core.provider_members import REVOKE
from asyncauth._core.store_trouble import StoreTrouble
from asyncauth._core.try_state import TryState, set_try
from asyncauth._core.user_code import call_user, sanitize
from asyncauth._http.trouble import LATE
from asyncauth.clock import within
from asyncauth.entry import LONGEST
from asyncauth.errors import AuthError, ConfigurationError, TokenEndpointUnavailable
from asyncauth.expiry import left_of
from asyncauth.provider import RevokingProvider, TokenKind
from asyncauth.status import Revocation, TokenRevocation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import aiohttp

    from asyncauth._core.engine import TokenEngine
    from asyncauth._core.runtime import Runtime
    from asyncauth._core.store_client import StoreClient
    from asyncauth.provider import Provider
    from asyncauth.token import Token

__all__ = ["log_out"]

_log = logging.getLogger("asyncauth.manager")

_LONGEST_LOCK_WAIT = 15.0
"""Seconds that waiting for another process' refresh may take."""

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 3.0
"""Seconds between tries of a revocation that a server can't answer now: somebody waits."""


async def log_out(engine: TokenEngine) -> Revocation:
    """Revoke and forget an engine's tokens and those further upstream, and close it, see `TokenManager.revoke`."""
    with engine.runtime.guard:
        flights = list(engine.flights())
        closing = engine.begin_closing()
    try:
        for flight in flights:
            await finish(flight)
        revocations = [await _Logout(each).run() for each in _with_upstreams(engine)]
    finally:
        await engine.finish_closing(closing)
    return Revocation(
        tokens=tuple(token for each in revocations for token in each.tokens),
        store=next((each.store for each in revocations if each.store is not None), None),
    )


def _with_upstreams(engine: TokenEngine) -> Iterator[TokenEngine]:
    """Yield an engine and those further upstream."""
    yield engine
    for upstream in engine.upstreams:
        yield from _with_upstreams(upstream)


class _Logout:
    """The revocation of one engine's tokens, after its last refresh has ended.

    Args:
        engine: Whose tokens they are.
    """

    __slots__ = ("_provider", "_runtime", "_state", "_store_client", "_until")

    def __init__(self, engine: TokenEngine) -> None:
        self._provider = engine.provider
        self._state = engine.state
        self._runtime = runtime = engine.runtime
        self._store_client = engine.store_client
        self._until = runtime.clock.monotonic() + runtime.policy.deadline

    async def run(self) -> Revocation:
        """Revoke the tokens and forget them; return what became of them."""
        held, client = self._state.held(), self._store_client
        if client is None:
            tokens, trouble = await self._revoke(held), None
        else:
            tokens, trouble = await self._with_store(held, client)
        self._state.forget(held)
        revocation = Revocation(tokens=tuple(tokens), store=trouble)
        if tokens:
            level, rest = logging.INFO, ""
            if not revocation.complete:
                level, rest = logging.WARNING, "; the result of revoke() says what remains valid"
            counts = (len(revocation.revoked), len(revocation.remaining))
            _log.log(level, "%s: logged out: %d revoked, %d not%s", name_of(self._provider.name), *counts, rest)
        return revocation

    async def _revoke(self, tokens: Iterable[Token | None]) -> list[TokenRevocation]:
        """Revoke what is to be revoked of some tokens."""
        things = _condemned(tokens, wall=self._runtime.clock.wall())
        if not things:
            return []
        async with self._runtime.sessions.session() as http:
            return await _revoke_each(things, self._provider, http, self._runtime, until=self._until)

    async def _with_store(
        self, held: tuple[Token, ...], client: StoreClient
    ) -> tuple[list[TokenRevocation], str | None]:
        """Revoke what is held and what the store has, and delete that; return why it could not be deleted, too."""
        tokens: list[TokenRevocation] | None = None
        try:
            async with client.calls.opened(), client.locking() as lock:
                if await lock.had_within(_LONGEST_LOCK_WAIT) is None:
                    raise StoreTrouble("another process holds the lock")  # noqa: TRY301
                stored = await client.load()
                tokens = await self._revoke((client.known.newest(stored), stored, *held))
                await client.forget(stored)
        except StoreTrouble as trouble:
            problem = trouble
        else:
            client.calls.note_success()
            return tokens, None
        client.calls.note(problem)
        return await self._revoke(held) if tokens is None else tokens, str(problem)


@attrs.frozen(repr=False)
class _Condemned:
    """A token that is to be revoked. Holds the secret.

    Attributes:
        kind: What it is.
        value: Itself.
        token: The token that it came with, or is.
    """

    kind: TokenKind
    value: str
    token: Token

    def outcome(self, provider: Provider, error: AuthError | None) -> TokenRevocation:
        """Return what became of it; an error says why it was not revoked."""
        is_access = self.kind == "access_token"
        return TokenRevocation(
            kind=self.kind,
            provider=name_of(provider.name),
            fingerprint=self.token.fingerprint if is_access else None,
            expires_at=self.token.expires_at if is_access else _end_of_refresh_token(self.token),
            error=None if error is None else f"{type(error).__name__}: {error}",
        )


def _condemned(tokens: Iterable[Token | None], *, wall: float) -> list[_Condemned]:
    """Return what is to be revoked of some tokens, each text once: refresh tokens first, since new tokens come of them.

    Args:
        tokens: What a manager and its store hold; an access token may be empty.
        wall: The wall clock, in Unix epoch seconds. An access token that has expired by it needs no revocation.
    """
    held = [token for token in tokens if token is not None]
    refresh = {each.refresh_token: each for each in held if each.refresh_token is not None}
    access = {each.value: each for each in held if each.value and left_of(each.expires_at, each.issued_at, wall) > 0}
    return [
        *(_Condemned("refresh_token", value, token) for value, token in refresh.items()),
        *(_Condemned("access_token", value, token) for value, token in access.items()),
    ]


async def _revoke_each(
    things: Sequence[_Condemned], provider: Provider, http: aiohttp.ClientSession, runtime: Runtime, *, until: float
) -> list[TokenRevocation]:
    """Revoke one token after another; return what became of each.

    Args:
        things: The tokens.
        provider: Whose they are.
        http: The session to send with.
        runtime: The manager's.
        until: When to give up, in seconds of the clock's ``monotonic()``.
    """
    return [each.outcome(provider, await _revoke(each, provider, http, runtime, until)) for each in things]


async def _revoke(
    thing: _Condemned, provider: Provider, http: aiohttp.ClientSession, runtime: Runtime, until: float
) -> AuthError | None:
    """Revoke a token, in as many tries as there is time for; return why that failed."""
    if not isinstance(provider, RevokingProvider):
        return ConfigurationError(
            "its provider has no way to revoke a token", advice="give it a revoke method, if the API can"
        )
    clock, pause = runtime.clock, _FIRST_PAUSE
    while True:
        try:
            await within(clock, until - clock.monotonic(), _ask(thing, provider, http, runtime))
        except TimeoutError:
            return TokenEndpointUnavailable(LATE.says, advice=LATE.do)
        except AuthError as error:
            problem = error.again()
        except InterruptedError:
            problem = AuthError(
                "the revocation was interrupted", advice="look for what cancels the provider's revoke()"
            )
        else:
            return None
        rest = max(pause, problem.retry_after or 0.0)
        if not problem.transient or clock.monotonic() + rest >= until:
            return problem
        await clock.sleep(rest)
        pause = min(2 * pause, _LONGEST_PAUSE)


async def _ask(thing: _Condemned, provider: RevokingProvider, http: aiohttp.ClientSession, runtime: Runtime) -> None:
    """Make a try, as a task of its own. Raises nothing but an `AuthError` of ours."""
    set_try(TryState(runtime.clock))
    try:
        answer: object = call_user(provider.revoke, http, thing.value, thing.kind)
        if inspect.isawaitable(answer):
            await answer
            return
    except Exception as error:  # noqa: BLE001 (a provider may be anybody's)
        problem = sanitize(error, "the revocation")
    else:
        problem = ConfigurationError(
            f"{type(provider).__name__}.revoke must be an async function", advice=f"write '{REVOKE}'"
        )
    raise problem


def _end_of_refresh_token(token: Token) -> float | None:
    """Return when a refresh token expires, where the server has said so."""
    expires_in = token.extra.get("refresh_expires_in")
    if isinstance(expires_in, bool) or not isinstance(expires_in, (int, float)) or not expires_in > 0:  # NaN too
        return None
    return token.issued_at + min(expires_in, LONGEST)  # a server may write an int beyond all floats
