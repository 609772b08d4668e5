"""The sandbox: both systems at once, each on a separate loopback port."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from asyncauth.sandbox.control import control
from asyncauth.sandbox.counts import RequestLog
from asyncauth.sandbox.guard import OriginGuard
from asyncauth.sandbox.listener import is_loopback
from asyncauth.sandbox.pago_facil import PagoFacilSandbox
from asyncauth.sandbox.peakly import PeaklySandbox
from asyncauth.sandbox.settings import DEFAULT_PASSWORD, DEFAULT_USERNAME, PagoFacilSettings, PeaklySettings, changed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from aiohttp import web

    from asyncauth.sandbox.page import Page
    from asyncauth.sandbox.system import System


class Sandbox:
    """Peakly and Pago Fácil on real loopback sockets, with faults on demand.

    Use it as an async context manager. It runs on the event loop on which it was entered; clients may run anywhere. Its
    controls can be used from any thread, and have taken effect when they return. Leaving it aborts requests in
    progress.

    Args:
        host: The address to listen on (default: loopback). Any other needs ``allow_remote``.
        peakly_port: Peakly's TCP port; 0 (default): any free one.
        pago_facil_port: Pago Fácil's TCP port; 0 (default): any free one.
        username: The user that may log in to both.
        password: That user's password.
        lifetime: The lifetime in seconds of every kind of token; ``None`` (default): each system's own lifetimes.
        token_latency: Seconds that each token request takes.
        api_latency: Seconds that each API request takes.
        clock_skew: Seconds by which the servers' wall clocks are ahead (negative: behind).
        refresh_tokens: Whether Peakly returns refresh tokens.
        token_prefix: The beginning of each token (inside a JWT: its ``jti``), so that tokens can be found in any
            output.
        page: Whether to serve a page for the browser that shows the requests and has a switch for every setting.
        page_port: The page's TCP port; 0 (default): any free one.
        allow_remote: Whether other machines can connect. They can then also use the controls, by any address or by
            ``host``. Requests by any other name are rejected, since an attacker could have pointed it here (DNS
            rebinding).
        log_size: How many of the latest requests the log keeps.
        backlog: How many connections may wait to be accepted.

    Attributes:
        peakly: Peakly's server and its controls.
        pago_facil: Pago Fácil's server and its controls.
        systems: Both, by name.
        log: The latest requests, oldest first, each a `Record` without secrets.

    Raises:
        ValueError: A setting is wrong, or the host is not loopback.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        peakly_port: int = 0,
        pago_facil_port: int = 0,
        username: str = DEFAULT_USERNAME,
        password: str = DEFAULT_PASSWORD,
        lifetime: float | None = None,
        token_latency: float = 0.0,
        api_latency: float = 0.0,
        clock_skew: float = 0.0,
        refresh_tokens: bool = False,
        token_prefix: str = "",
        page: bool = False,
        page_port: int = 0,
        allow_remote: bool = False,
        log_size: int = 1000,
        backlog: int = 16384,
    ) -> None:
        if not allow_remote and not is_loopback(host):
            raise ValueError(
                f"{host} is not loopback: other machines could connect; allow_remote=True (--allow-remote) permits that"
            )
        shared: dict[str, Any] = {
            "username": username,
            "password": password,
            "token_latency": token_latency,
            "api_latency": api_latency,
            "clock_skew": clock_skew,
            "token_prefix": token_prefix,
            **({} if lifetime is None else {"lifetime": lifetime}),
        }
        self._host, self._remote = host, allow_remote
        self.log = RequestLog(log_size)
        listening: dict[str, Any] = {
            "host": host,
            "backlog": backlog,
            "log": self.log,
            "control": self._control,
        }
        self.peakly = PeaklySandbox(
            changed(PeaklySettings(), {**shared, "refresh_tokens": refresh_tokens}),
            port=peakly_port,
            **listening,
        )
        self.pago_facil = PagoFacilSandbox(changed(PagoFacilSettings(), shared), port=pago_facil_port, **listening)
        self.systems: Mapping[str, System[Any]] = {system.name: system for system in (self.peakly, self.pago_facil)}
        self._page: Page | None = None
        if page:
            from asyncauth.sandbox.page import Page  # noqa: PLC0415 (most have no page, and tests start thousands)

            self._page = Page(self, host=host, port=page_port, remote=allow_remote)
        self._running = False

    def __repr__(self) -> str:
        return f"<Sandbox peakly={self.peakly.url} pago_facil={self.pago_facil.url}>"

    @property
    def username(self) -> str:
        """The user that Peakly accepts; at the start, Pago Fácil accepts the same."""
        return self.peakly.settings.username

    @property
    def password(self) -> str:
        """The password that Peakly accepts; at the start, Pago Fácil accepts the same."""
        return self.peakly.settings.password

    @property
    def page_url(self) -> str | None:
        """The page's URL, such as ``"http://127.0.0.1:49153/"``; ``None`` without ``page=True``."""
        return None if self._page is None else self._page.url

    async def start(self) -> None:
        """Listen on all ports.

        Raises:
            RuntimeError: It is running already.
            OSError: A port can't be bound; nothing is left open.
        """
        if self._running:
            raise RuntimeError("the sandbox is running already")
        self._running = True
        try:
            for server in self._servers():
                await server.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End at once: abort all connections, cancel hanging requests, free the ports. Idempotent."""
        try:
            await asyncio.gather(*(server.stop() for server in self._servers()))
        finally:
            self._running = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def configure(self, **changes: object) -> None:
        """Change settings that both systems have (``lifetime``, too) on both: all, or none and raise ``ValueError``."""
        for system in self.systems.values():
            changed(system.settings, changes)
        for system in self.systems.values():
            system.configure(**changes)

    def revoke(self) -> int:
        """Revoke all tokens of both systems; return how many there were."""
        return sum(system.revoke() for system in self.systems.values())

    def reset_counts(self) -> None:
        """Reset both systems' counts to zero and empty the log."""
        for system in self.systems.values():
            system.reset_counts()
        self.log.clear()

    def reset(self) -> None:
        """Restore the initial state: first settings, no faults, tokens, counts and log, connections accepted."""
        for system in self.systems.values():
            system.reset()
        self.log.clear()

    def state(self) -> dict[str, object]:
        """Return the whole state of both systems, as JSON and without secrets."""
        return {name: system.state() for name, system in self.systems.items()}

    def _servers(self) -> list[System[Any] | Page]:
        return [*self.systems.values(), *([] if self._page is None else [self._page])]

    async def _control(self, request: web.Request, url: str) -> web.Response:
        return await control(self, request, OriginGuard(self._host, self._remote, url))
