"""A listening socket that can refuse connections for a while and keep its port."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import ipaddress
import socket
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from asyncauth.sandbox.mishaps import abort

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

T = TypeVar("T")

MAX_BODY = 1024 * 1024
_KEEP_ALIVE = 3600.0
_CALL_TIMEOUT = 10.0
_SWEEPS = 200
_ACCEPTED_AFTER = 3
"""Rounds of the event loop after which a connection that was just accepted is among the server's."""


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine, unreachable for others."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        # Without it, the port stays taken for a minute after each abort of an accepted connection.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setblocking(False)
        bound.bind(address)
    except BaseException as error:
        bound.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            what_to_do = "end the program that has it, or choose another port (0 = any free one)"
            raise OSError(error.errno, f"port {port} is in use: {what_to_do}") from None
        raise
    return bound


class Listener:
    """Serves HTTP on one port, stops and starts to listen on demand, and ends at once.

    Args:
        handler: Answers every request.
        host: The address to bind.
        port: The port to bind; 0: any free one.
        backlog: How many connections may wait to be accepted (the kernel may allow fewer).
    """

    def __init__(
        self,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
        *,
        host: str,
        port: int,
        backlog: int,
    ) -> None:
        self._handler = handler
        self._host = host
        self._wanted_port = port
        self._backlog = backlog
        self._serving: tuple[asyncio.AbstractEventLoop, web.Server] | None = None
        self._socket: socket.socket | None = None
        self._server: asyncio.AbstractServer | None = None
        self._reopen: asyncio.TimerHandle | None = None
        self._accepting = False
        self.port = port

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped yet."""
        return self._serving is not None

    @property
    def accepting(self) -> bool:
        """Whether connections are accepted."""
        return self._accepting

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Bind and listen; the port is known afterwards.

        Raises:
            OSError: The address can't be bound.
        """
        loop = asyncio.get_running_loop()
        self._socket = _bound(self._host, self._wanted_port)
        self.port = self._socket.getsockname()[1]
        http = web.Server(
            self._handler,  # type: ignore[arg-type] # the factory below makes nothing but web.Request
            request_factory=self._make_request,
            # A request that hangs must end with its connection, not with the sandbox.
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=_KEEP_ALIVE,
            tcp_keepalive=False,
        )
        self._serving = loop, http
        self._open()

    def refuse(self, *, seconds: float | None, spare: asyncio.BaseTransport | None) -> None:
        """Close the listening socket, abort all connections but ``spare``, and keep the port.

        Args:
            seconds: Seconds after which to accept again; ``None``: not before `accept`.
            spare: The connection of the order, which must still be answered.
        """
        loop, _ = self._started()
        self._forget_reopening()
        if self._accepting:
            self._close()
            # Bound but not listening: the kernel refuses connections, and no other process can take the port.
            self._socket = _bound(self._host, self.port)
        self.abort_connections(spare=spare)
        if seconds is not None:
            self._reopen = loop.call_later(seconds, self.accept)

    def accept(self) -> None:
        """Listen again on the same port; connections are queued from this call on."""
        self._started()
        self._forget_reopening()
        if not self._accepting:
            self._open()

    def abort_connections(self, *, spare: asyncio.BaseTransport | None = None) -> None:
        """Abort every connection but ``spare``."""
        for connection in [] if self._serving is None else self._serving[1].connections:
            if connection.transport is not None and connection.transport is not spare:
                abort(connection.transport)

    def call(self, action: Callable[[], Any]) -> None:
        """Run an action on the listener's loop, from any thread; it is done when this returns.

        Before the start and after the end, it runs in the calling thread.
        """
        if self._serving is None or _running_loop() is self._serving[0]:
            action()
            return
        done: concurrent.futures.Future[None] = concurrent.futures.Future()

        def run() -> None:
            try:
                action()
            except BaseException as error:  # noqa: BLE001 - the calling thread raises it
                done.set_exception(error)
            else:
                done.set_result(None)

        self._serving[0].call_soon_threadsafe(run)
        done.result(timeout=_CALL_TIMEOUT)

    async def stop(self) -> None:
        """End at once: answer nothing more, and cancel hanging requests. Idempotent."""
        if self._serving is None:
            return
        loop, http = self._serving
        self._forget_reopening()
        if self._socket is not None:
            # Accept nothing more before the server is closed: asyncio loses a connection that comes just then.
            with contextlib.suppress(NotImplementedError):  # other loops than selectors'
                loop.remove_reader(self._socket)
        for _ in range(_ACCEPTED_AFTER):
            await asyncio.sleep(0)
        self._close()
        self._serving = None
        # An aborted connection cancels its handler in the loop's next rounds.
        rounds = _SWEEPS
        while http.connections and rounds:
            rounds -= 1
            for connection in http.connections:
                abort(connection.transport)
            await asyncio.sleep(0)
        await http.shutdown(timeout=0.1)

    def _started(self) -> tuple[asyncio.AbstractEventLoop, web.Server]:
        if self._serving is None:
            raise RuntimeError("the sandbox is not running: use it inside its `async with` block")
        return self._serving

    def _forget_reopening(self) -> None:
        if self._reopen is not None:
            self._reopen.cancel()
            self._reopen = None

    def _open(self) -> None:
        loop, http = self._started()
        if self._socket is None:  # binding failed again when connections began to be refused
            self._socket = _bound(self._host, self.port)
        # Listens already here, so that a connection after accept() has returned is never refused.
        self._socket.listen(self._backlog)
        self._server = _at_once(loop.create_server(http, sock=self._socket, backlog=self._backlog))
        self._accepting = True

    def _close(self) -> None:
        self._accepting = False
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _make_request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.Request:
        # Without web.Application, whose router costs as much as a whole answer here.
        return web.Request(message, payload, protocol, writer, task, self._started()[0], client_max_size=MAX_BODY)


def _at_once(opening: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that does not wait to its end.

    ``create_server`` on a bound socket does no I/O; it only lets one round of the loop pass. As a task, it could be
    overtaken by the next order to refuse, which would then find the port half open.
    """
    while True:
        try:
            opening.send(None)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
