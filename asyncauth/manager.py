"""One provider's token, for users: the documentation of what an engine does."""

from __future__ import annotations

from random import random as machine_random
from typing import TYPE_CHECKING, Self

from asyncauth._core.engine import TokenEngine
from asyncauth._core.listeners import Listener, Listeners
from asyncauth._core.runtime import Runtime, check
from asyncauth._core.sessions import Http, Sessions
from asyncauth.clock import SYSTEM_CLOCK, Clock, boottime
from asyncauth.errors import ConfigurationError
from asyncauth.policy import RefreshPolicy
from asyncauth.token import Token

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from yarl import URL

    from asyncauth._core.blocking import Blocking
    from asyncauth.provider import Provider
    from asyncauth.status import Revocation, Status
    from asyncauth.stores.base import TokenStore

__all__ = ["TokenManager", "engine_of", "manager_of"]

_DEFAULT_POLICY = RefreshPolicy()


class TokenManager:
    """Keeps one provider's token: always usable, renewed before anybody has to wait.

    ::

        async with TokenManager(Peakly(username=..., password=...)) as manager:
            headers = await manager.headers()

    Entered, it renews in the background and keeps a session for its token requests. Not entered it works as well,
    renews when it is asked, opens and closes a session for each refresh, and leaves nothing to close.

    Concurrency: any number of tasks, threads and event loops may use one manager at the same time; they share the
    token and make one token request together. Cancelling a caller never cancels the refresh it waits for.

    Args:
        provider: Whose token it is. Another provider in place of its credential becomes a manager of this one's own.
        http: What token requests are sent with: a function, plain or ``async``, that makes an ``aiohttp.ClientSession``
            for each event loop, which the manager closes; or a session, which stays yours and is used on its own event
            loop alone. ``None`` (default): sessions of the manager's own, without a proxy.
        store: Where it shares the token with other processes, see `asyncauth.stores`; ``None`` = with none. It stays
            the caller's to close.
        policy: When to renew, to give up, to try again.
        clock: ``None`` (default) = the machine's.
        random: Where the random numbers for jitter and backoff come from: a function that returns numbers from 0 to 1,
            called from any thread. For tests. ``None`` (default): the machine's, `random.random`.

    Raises:
        ConfigurationError: An argument can't work.
    """

    __slots__ = ("__weakref__", "_engine", "_state")

    def __init__(
        self,
        provider: Provider,
        *,
        http: Http | None = None,
        store: TokenStore | None = None,
        policy: RefreshPolicy = _DEFAULT_POLICY,
        clock: Clock | None = None,
        random: Callable[[], float] | None = None,
    ) -> None:
        check(policy, http, clock, random, store)
        clock = SYSTEM_CLOCK if clock is None else clock
        random = machine_random if random is None else random
        runtime = Runtime(policy, clock, random, Sessions(http, policy.deadline / 2), Listeners())
        self._engine = TokenEngine(provider, runtime, store=store)
        self._state = self._engine.state  # at hand for each call

    # What callers use

    async def token(self) -> Token:
        """Return a usable token.

        Fresh: at once, with no lock and no I/O. Stale: at once as well, and one refresh gets under way. Spent:
        after the one refresh that all callers wait for together.

        Raises:
            CredentialsRejected: The server rejected the credential; it is not asked again for a while.
            TokenEndpointUnavailable: No token could be had within the policy's deadline, or the server asked for
                longer than that.
            InvalidTokenResponse: The server's answer can't be used.
            ManagerClosed: The manager was closed.
            AuthError: Another reason, such as a credential callable that failed.
        """
        cached = self._state.cached
        if boottime() < cached.fast_until:
            return cached.token
        return (await self._engine.obtain()).token

    async def headers(self, url: str | URL | None = None) -> dict[str, str]:
        """Return ``{"Authorization": "Bearer …"}`` with a usable token, new each time. Raises as `token` does.

        Where the provider declares another header or a cookie, it is that one: ``{"Cookie": "SESSION=…"}``.

        Args:
            url: The whole URL of the request that the headers are for. If its origin is not one of `origins`, the
                result is ``{}``, and no token is obtained. ``None`` (default): it is for the caller to see that the
                headers go nowhere else. A client that follows redirects may take them to another origin.

        Raises:
            ConfigurationError: The token is bound to a key (DPoP), so each request needs a proof of its own; it is
                carried in the query; or ``url`` is not an absolute URL.
            InsecureTransport: ``url`` is plain http to a host that is served by https.
        """
        cached, header = self._state.cached, self._engine.options.header
        if url is not None or header is None:
            header = self._engine.header_for(url)
            if header is None:
                return {}
        if boottime() >= cached.fast_until:
            cached = await self._engine.obtain()
        return {header: cached.authorization}

    async def refresh(self) -> Token:
        """Obtain a new token now, and return it.

        Tries at once, whatever was being waited out: a backoff, a ``Retry-After``, a remembered refusal. Joins the
        refresh that is under way, if one is. In a chain that was made in one call, each step tries at once.

        Raises:
            AuthError: As `token` does; also while the held token is still usable, which stays in place.
        """
        return await self._engine.refresh()

    @property
    def blocking(self) -> Blocking:
        """The same for code without an event loop: ``manager.blocking.token()``, ``.headers()``, ``.refresh()``."""
        from asyncauth._core.blocking import Blocking  # noqa: PLC0415 (most programs have an event loop)

        return Blocking(self._engine)

    def invalidate(self, token: Token, *, repeat: bool = False) -> None:
        """Take note that the API refused this token (401). No I/O, any thread.

        It is dropped, unless it is not the current one any more, so a late refusal of an old token costs nothing.
        When replacements are refused as well, a cool-down begins in which this changes nothing: some servers answer
        401 where 403 is meant, and logging in on every request would not help.

        Args:
            token: The refused one.
            repeat: Whether it was sent in the repeat of a request whose first token was refused.
        """
        if not isinstance(token, Token):
            raise ConfigurationError(f"invalidate takes the Token that was refused, not {type(token).__name__}")
        self._engine.invalidate(token, repeat=repeat)

    def accepted(self, token: Token, *, repeat: bool = False) -> None:
        """Take note that the API accepted this token: any answer but a 401 that the token explains.

        Args:
            token: The accepted one.
            repeat: Whether it was sent in the repeat of a request whose first token was refused.
        """
        if not isinstance(token, Token):
            raise ConfigurationError(f"accepted takes the Token that was accepted, not {type(token).__name__}")
        self._engine.accepted(token, repeat=repeat)

    @property
    def current(self) -> Token | None:
        """The token if it is usable, without I/O; else ``None``."""
        now = self._engine.runtime.clock.monotonic()
        cached = self._state.cached.serving(now)
        return cached.token if now < cached.usable_until else None

    @property
    def origins(self) -> tuple[str, ...]:
        """Where the token may be sent: the provider's ``origins``."""
        return self._engine.origins

    @property
    def insecure_hosts(self) -> frozenset[str]:
        """The hosts to which the token may travel by plain http: the provider's ``insecure_hosts``."""
        return self._engine.options.insecure_hosts

    @property
    def identity(self) -> str | None:
        """The provider's ``identity``: a string without secrets that differs wherever the token does."""
        return self._engine.identity

    def status(self) -> Status:
        """Return a snapshot for people and health checks. No I/O, any thread."""
        return self._engine.status()

    def add_listener(self, listener: Listener) -> None:
        """Tell a function of each event from now on: see `asyncauth.events`. Any thread.

        A plain function is called in a thread of its own, so it may block; an ``async`` one is run on the event loop
        where it is added, in a task of its own. Each is told one event after another, in their order, after the
        fact: it can neither slow nor break a refresh. What it raises is logged, once, by class and place. One that
        is 10,000 events behind misses some. `close` lets it catch up for `RefreshPolicy.close_grace`.

        In a chain that was made in one call it is told of each step's events; a manager of a pool tells of all the
        pool's.

        Args:
            listener: A function of one `Event`. Adding it again changes nothing.

        Raises:
            ConfigurationError: It can't be called; or it is ``async``, and no event loop is running.
        """
        self._engine.runtime.listeners.add(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Tell a function nothing more. One that was never added changes nothing. Any thread."""
        self._engine.runtime.listeners.remove(listener)

    # Its life

    async def __aenter__(self) -> Self:
        await self._engine.enter()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._engine.leave()

    async def close(self) -> None:
        """End what the manager does: the background renewal, and a refresh that is under way.

        A refresh whose request is under way gets `RefreshPolicy.close_grace` to finish; callers that still wait then
        get ``ManagerClosed``, as later ones do. Nothing is left behind. Closing again does nothing; entering again
        reopens, after whatever is being closed.
        """
        await self._engine.close()

    async def revoke(self) -> Revocation:
        """Log out: have the server revoke the tokens (RFC 7009), forget them here and in the store, and close.

        A refresh that is under way is waited for, and what it brings is revoked as well; callers that wait for it get
        ``ManagerClosed``. The refresh token is revoked first, then the access token; in a chain that was made in one
        call, those of the earlier steps after that. Tokens that can't be revoked are forgotten, too: the result says
        which, why, and until when whoever has them may use them.

        With a store, what all its processes share is revoked and deleted, under the store's lock. A process that still
        holds the access token meets the API's 401, and obtains a token by its own credential if it has one. The store
        must not be closed yet.

        Afterwards the manager is closed. Entered again it obtains a token anew, by the provider's own credential.
        Cancelled, it forgets nothing that was not revoked yet, and closes.

        Returns:
            What was revoked, and what was not. It takes `RefreshPolicy.deadline` per step of a chain at most. A server
            that can't answer is asked again until then.
        """
        from asyncauth._core.revoke import log_out  # noqa: PLC0415 (few programs log out)

        return await log_out(self._engine)

    def __repr__(self) -> str:
        return repr(self._engine)


def engine_of(manager: TokenManager) -> TokenEngine:
    """Return what does a manager's work: what this package's other modules use of one."""
    return manager._engine  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # the one way in, for the package alone


def manager_of(engine: TokenEngine) -> TokenManager:
    """Return a manager whose work an engine does that was made before."""
    self = TokenManager.__new__(TokenManager)  # so called because this stands in for `__init__`
    self._engine, self._state = engine, engine.state  # pyright: ignore[reportPrivateUsage]
    return self
