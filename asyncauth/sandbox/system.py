"""One system on its own port, with the controls that all systems have."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

import attrs
from aiohttp import web

from asyncauth.sandbox import exchange, settings
from asyncauth.sandbox.behaviour import Behaviour, S
from asyncauth.sandbox.counts import Counts
from asyncauth.sandbox.listener import Listener

if TYPE_CHECKING:
    import asyncio

    from asyncauth.sandbox.counts import RequestLog
    from asyncauth.sandbox.ledger import Living

Control: TypeAlias = Callable[[web.Request, str], Awaitable[web.Response]]
"""Answers a request below ``/_sandbox/``, given the base URL of the port it came to."""


class System(Behaviour[S]):
    """One system: one or more token endpoints, a protected API, and the controls of both.

    Attributes:
        settings: The settings; assignments are checked. `configure` changes several at once.
        token_faults: Faults for requests to the token endpoints.
        api_faults: Faults for requests to the protected API.
        counts: The counts since the start or the last `reset_counts`.
    """

    def __init__(
        self,
        settings: S,
        *,
        host: str,
        port: int,
        backlog: int,
        log: RequestLog,
        control: Control,
    ) -> None:
        super().__init__(settings)
        self._initial = attrs.evolve(settings)
        self._desk = exchange.Desk(log=log, control=lambda request: control(request, self.url))
        self._listener = Listener(
            functools.partial(exchange.handle, self, self._desk), host=host, port=port, backlog=backlog
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.url}>"

    @property
    def url(self) -> str:
        """The base URL, such as ``"http://127.0.0.1:49152"``; its port is known once the sandbox runs."""
        return self._listener.url

    @property
    def port(self) -> int:
        """The TCP port."""
        return self._listener.port

    @property
    def accepting(self) -> bool:
        """Whether connections are accepted."""
        return self._listener.accepting

    def configure(self, **changes: object) -> None:
        """Change settings: all of them, or none and raise ``ValueError``. Usable in any thread."""
        settings.change(self.settings, changes)

    def revoke(self, step: str | None = None) -> int:
        """Revoke all tokens, or those of one step; return how many there were. Usable in any thread.

        Args:
            step: For Peakly ``"access_token"`` or ``"refresh_token"``; for Pago Fácil ``"login"``, ``"createToken"`` or
                ``"loginToken"``; ``None`` (default): all.

        Raises:
            ValueError: There is no such step.
        """
        if step is not None and step not in self.steps:
            raise ValueError(f"unknown step of {self.name}; choose from: {', '.join(sorted(self.steps))}")
        counted: list[int] = []
        self._listener.call(lambda: counted.append(self._ledger.revoke(None if step is None else {step})))
        return counted[0]

    def revoke_one(self, fingerprint: str) -> int:
        """Revoke the token with this fingerprint in `tokens`; return how many there were. Usable in any thread."""
        counted: list[int] = []
        self._listener.call(lambda: counted.append(self._ledger.revoke_one(fingerprint)))
        return counted[0]

    def tokens(self, limit: int) -> list[Living]:
        """Return the valid tokens, newest first, at most ``limit``, without their values."""
        return self._ledger.newest(time.monotonic(), limit)

    def refuse_connections(self, *, seconds: float | None = None, spare: asyncio.BaseTransport | None = None) -> None:
        """Close the listening socket and abort all connections; new connections are refused.

        Usable in any thread.

        Args:
            seconds: Seconds after which to accept again; ``None`` (default): not before `accept_connections`.
            spare: A connection that is not aborted.

        Raises:
            RuntimeError: The sandbox is not running.
        """
        self._listener.call(functools.partial(self._listener.refuse, seconds=seconds, spare=spare))

    def accept_connections(self) -> None:
        """Listen again on the same port, if connections were refused. Usable in any thread."""
        self._listener.call(self._listener.accept)

    def abort_connections(self, *, spare: asyncio.BaseTransport | None = None) -> None:
        """Abort all connections but ``spare``, with kept-alive ones, and continue to accept. Usable in any thread."""
        self._listener.call(functools.partial(self._listener.abort_connections, spare=spare))

    def reset_counts(self) -> None:
        """Reset the counts to zero."""
        self.counts = Counts()

    def reset(self) -> None:
        """Restore the initial state: first settings, no faults, no tokens, counts at zero, connections accepted."""
        initial = attrs.asdict(self._initial)
        settings.change(self.settings, initial)
        self.token_faults.clear()
        self.api_faults.clear()
        self.revoke()
        self.reset_counts()
        if self._listener.running:
            self.accept_connections()

    def state(self) -> dict[str, object]:
        """Return the whole state, as JSON and without secrets."""
        return {
            "url": self.url,
            "accepting": self.accepting,
            "settings": settings.public(self.settings),
            "token_faults": [fault.as_json() for fault in self.token_faults.pending],
            "api_faults": [fault.as_json() for fault in self.api_faults.pending],
            "counts": attrs.asdict(self.counts),
            "living_tokens": self._ledger.living(time.monotonic()),
        }

    async def start(self) -> None:
        """Listen. Called by the `Sandbox`."""
        await self._listener.start()

    async def stop(self) -> None:
        """End at once. Called by the `Sandbox`."""
        await self._listener.stop()
