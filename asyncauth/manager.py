"""`TokenManager`, the public interface of an engine, with its documentation."""

from __future__ import annotations

from random import random as machine_random
from typing import TYPE_CHECKING, Self

from asyncauth._core.engine import TokenEngine
from asyncauth._core.listeners import Listener, Listeners
from asyncauth._core.provider_members import origins_of
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
    """Obtains one provider's token, keeps it, and renews it before it expires.

    ::

        async with TokenManager(Peakly(username=..., password=...)) as manager:
            headers = await manager.headers()

    While it is entered (``async with``), the manager renews the token in the background, and keeps a session open for
    its token requests. You may also use it without entering it. It then renews only when a caller needs a token, opens
    a session for each refresh, and does not need to be closed.

    Concurrency: any number of tasks, threads and event loops may use one manager at the same time. They share the
    token, and make one token request together. Cancelling a caller never cancels the refresh that it waits for.

    Args:
        provider: The provider that obtains the token. If its credential is another provider, this manager makes and
            closes a manager for that one.
        http: The sessions for token requests. A function, plain or ``async``, makes an ``aiohttp.ClientSession`` per
            event loop, which the manager closes. A session is used only on its own event loop, and you close it.
            ``None`` (default): the manager makes its own sessions, without a proxy.
        store: The store that shares the token with other processes, see `asyncauth.stores`. The manager does not close
            it. ``None`` (default): no store.
        policy: The settings for renewing, giving up and trying again.
        clock: The clock, for tests. ``None`` (default): the machine's clock.
        random: A function that returns the random numbers for jitter and backoff, from 0 to 1, for tests. It is called
            from any thread. ``None`` (default): `random.random`.

    Raises:
        ConfigurationError: An argument is wrong; the message says which.
    """

    __slots__ = ("__weakref__", "_engine", "_header", "_state")

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
        self._header = self._engine.options.header  # as above

    # What callers use

    async def token(self) -> Token:
        """Return a usable token.

        If the token is fresh, the call returns at once, without a lock or I/O. If it is stale, the call returns it at
        once, too, and starts one refresh. If it is spent, all callers wait for the same refresh.

        Raises:
            CredentialsRejected: The server rejected the credential, which is not sent again during a cool-down.
            TokenEndpointUnavailable: No token could be obtained within the policy's deadline, or the server asked for a
                wait that is longer than that.
            InvalidTokenResponse: The server's answer is unusable.
            ManagerClosed: The manager was closed.
            AuthError: There was another problem, such as a credential's callable that failed.
        """
        cached = self._state.cached
        if boottime() < cached.fast_until:
            return cached.token
        return (await self._engine.obtain()).token

    async def headers(self, url: str | URL | None = None) -> dict[str, str]:
        """Return ``{"Authorization": "Bearer …"}`` with a usable token, as a new ``dict``. Raises as `token` does.

        If the provider declares another header or a cookie, the result has that one: ``{"Cookie": "SESSION=…"}``.

        Args:
            url: The whole URL of the request that the headers are for. If its origin is not one of `origins`, the
                result is ``{}``, and no token is obtained. ``None`` (default): the URL is not checked, so make sure
                that the headers go to these origins only. A client that follows redirects may send them to another
                origin.

        Raises:
            ConfigurationError: The token is bound to a key (DPoP), so each request needs its own proof; requests carry
                the token in the query; or ``url`` is not an absolute URL.
            InsecureTransport: ``url`` is plain http to a host that is served by https.
        """
        header = self._header
        if url is not None or header is None:
            header = self._engine.options.header_for(url, self.origins)
            if header is None:
                return {}
        cached = self._state.cached
        if boottime() >= cached.fast_until:
            cached = await self._engine.obtain()
        return {header: cached.authorization}

    async def refresh(self) -> Token:
        """Obtain a new token now, and return it.

        The manager tries at once, even during a backoff, a ``Retry-After`` or a cool-down. If a refresh is in progress,
        the call joins it. In a chain that was made in one call, such as ``PagoFacilJWT.from_password(…)``, each step
        tries at once.

        Raises:
            AuthError: See `token`. It is raised even if the current token is still usable, which the manager keeps.
        """
        return await self._engine.refresh()

    @property
    def blocking(self) -> Blocking:
        """The same methods for code without an event loop: ``manager.blocking.token()``, ``.headers()`` and others."""
        from asyncauth._core.blocking import Blocking  # noqa: PLC0415 (most programs have an event loop)

        return Blocking(self._engine)

    def invalidate(self, token: Token, *, repeat: bool = False) -> None:
        """Report that the API answered this token with a 401. No I/O, any thread.

        The manager drops the token if it is still the current one, so a late 401 to an old token changes nothing. If
        the API answers new tokens with 401, too, a cool-down begins, in which the manager drops no token: some servers
        answer 401 where they mean 403, and logging in on every request would not help.

        Args:
            token: The token that the request carried.
            repeat: Whether the request was sent a second time, after a 401 to another token (default ``False``).
        """
        if not isinstance(token, Token):
            raise ConfigurationError(f"invalidate takes the Token that was refused, not {type(token).__name__}")
        self._engine.invalidate(token, repeat=repeat)

    def accepted(self, token: Token, *, repeat: bool = False) -> None:
        """Report that the API accepted this token: it answered with anything but a 401 that is about the token.

        Args:
            token: The token that the request carried.
            repeat: Whether the request was sent a second time, after a 401 to another token (default ``False``).
        """
        if not isinstance(token, Token):
            raise ConfigurationError(f"accepted takes the Token that was accepted, not {type(token).__name__}")
        self._engine.accepted(token, repeat=repeat)

    @property
    def current(self) -> Token | None:
        """The current token, without I/O; ``None``: no token is usable."""
        now = self._engine.runtime.clock.monotonic()
        cached = self._state.cached.serving(now)
        return cached.token if now < cached.usable_until else None

    @property
    def origins(self) -> tuple[str, ...]:
        """Where the token may be sent: the provider's ``origins``."""
        return origins_of(self._engine.provider)

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
        from asyncauth._core.snapshot import status_of  # noqa: PLC0415 (a program that asks for none pays nothing)

        return status_of(self._engine)

    def add_listener(self, listener: Listener) -> None:
        """Call a function with each event from now on, see `asyncauth.events`. Any thread.

        A plain function is called in its own thread, so it may block. An ``async`` function runs in its own task, on
        the event loop where it is added. A listener receives the events in order, after they have happened, and can
        neither slow down nor break a refresh. If it raises an error, the log shows the error's class and place, once.
        A listener that is 10,000 events behind misses some. `close` waits for `RefreshPolicy.close_grace` until the
        listeners have received all events.

        A listener also receives the events of each earlier step of a chain that was made in one call. If the manager
        belongs to a pool, the listener receives the events of the whole pool.

        Args:
            listener: A function that takes one `Event`. Adding it again changes nothing.

        Raises:
            ConfigurationError: The listener can't be called; or it is ``async``, and no event loop is running.
        """
        self._engine.runtime.listeners.add(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Stop calling a listener. Does nothing if it was never added. Any thread."""
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
        """End the background renewal, and a refresh in progress.

        A token request in progress has `RefreshPolicy.close_grace` to finish. Callers that still wait after that
        receive ``ManagerClosed``, and so do later callers. No task, connection or timer is left. Closing again does
        nothing. Entering the manager again reopens it, once it has been closed completely.
        """
        await self._engine.close()

    async def revoke(self) -> Revocation:
        """Log out: have the server revoke the tokens (RFC 7009), forget them here and in the store, and close.

        If a refresh is in progress, the call waits for it, and also revokes the tokens that it obtains. Callers that
        wait for that refresh receive ``ManagerClosed``. The refresh token is revoked first, then the access token. In a
        chain that was made in one call, the tokens of the earlier steps follow. Tokens that can't be revoked are
        forgotten, too: the result says which, why, and until when they stay valid.

        With a store, the tokens in the store are revoked and the entry is deleted, under the store's lock. Another
        process that still has the access token gets a 401 from the API. It then obtains a new token, if its provider
        has its own credential. Call this before you close the store.

        Afterwards the manager is closed. If you enter it again, it obtains a new token with the provider's own
        credential. If this call is cancelled, the manager keeps the tokens that were not revoked yet, and closes.

        Returns:
            The tokens that were revoked, and those that were not. If the server can't answer, it is asked again, for
            `RefreshPolicy.deadline` per step of a chain at most.
        """
        from asyncauth._core.revoke import log_out  # noqa: PLC0415 (few programs log out)

        return await log_out(self._engine)

    def __repr__(self) -> str:
        return repr(self._engine)


def engine_of(manager: TokenManager) -> TokenEngine:
    """Return a manager's engine, which the other modules of this package use."""
    return manager._engine  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # the one way in, for the package alone


def manager_of(engine: TokenEngine) -> TokenManager:
    """Return a manager for an engine that exists already."""
    self = TokenManager.__new__(TokenManager)  # so called because this stands in for `__init__`
    self._engine, self._state, self._header = engine, engine.state, engine.options.header  # pyright: ignore[reportPrivateUsage]
    return self
