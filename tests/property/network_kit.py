"""A network in memory: aiohttp's own client talks HTTP to a server that a test commands, without sockets.

A request takes half the latency to arrive, and takes effect then. Its answer takes the other half. A client that
disconnects in between gets no answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import parse_qsl

import attrs
from world_kit import StepLoop, World

Fault = str
"""``"lost"`` (cut before it arrives), ``"unanswered"`` (cut after the server has done its
part), ``"hangs"`` (no answer ever)."""


@attrs.define(eq=False)
class Request:
    """One request as it was sent.

    Attributes:
        process: Whose loop sent it.
        sent_at: When, by the world's clock.
        sent_at_loop: When, by the loops' clock.
        arrived: Whether the server has got it.
        answered: Whether the client has got the answer.
        over: Whether nobody waits for an answer any more.
        status: The answer's.
        fault: What goes wrong with it.
        notes: Whatever else is to be known of it.
    """

    process: str
    loop: StepLoop
    sent_at: float
    sent_at_loop: float
    path: str
    headers: Mapping[str, str]
    fields: Mapping[str, str]
    arrived: bool = False
    answered: bool = False
    over: bool = False
    status: int | None = None
    fault: Fault | None = None
    notes: dict[str, Any] = attrs.field(factory=dict)

    @property
    def bearer(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


class Server(Protocol):
    """What answers."""

    def refuses(self, process: str) -> bool:
        """Return whether it refuses a new connection of a process."""
        ...

    def fault(self, request: Request) -> Fault | None:
        """Return what goes wrong with this request."""
        ...

    def sent(self, request: Request) -> None:
        """Take note of a request that is on its way."""
        ...

    def aborted(self, request: Request) -> None:
        """Take note that the client has gone before the answer came."""
        ...

    def answer(self, request: Request) -> tuple[int, Mapping[str, str], Any]:
        """Do what is asked for; return status, headers and a JSON body."""
        ...


class Network:
    """Connects every address with one server.

    Attributes:
        latency: Seconds from a request's first byte to its answer's last.
    """

    def __init__(self, world: World, server: Server, latency: float = 0.1) -> None:
        self.server = server
        self.loop = world.loop("network")
        world.network = self
        self.latency = latency
        self.open: set[MemoryTransport] = set()

    async def connect(self, loop: StepLoop) -> None:
        await asyncio.sleep(self.latency / 10)
        if self.server.refuses(loop.process):
            raise ConnectionRefusedError(111, "refused")

    def connection(self, loop: StepLoop, protocol: Any) -> tuple[MemoryTransport, Any]:
        transport = MemoryTransport(self, loop, protocol)
        protocol.connection_made(transport)
        self.open.add(transport)
        return transport, protocol


class MemoryTransport(asyncio.Transport):
    """A connection to the server."""

    def __init__(self, network: Network, loop: StepLoop, protocol: Any) -> None:
        super().__init__()
        self._network = network
        self._loop = loop
        self._protocol = protocol
        self._got = bytearray()
        self._request: Request | None = None
        self._closed = False

    @property
    def forsaken(self) -> bool:
        """Whether it was left by a loop that ended without a chance to close it."""
        return not self._loop.alive

    def get_protocol(self) -> Any:
        return self._protocol

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._closed

    def is_reading(self) -> bool:
        return True

    def pause_reading(self) -> None:
        """Go on: answers are small."""

    def resume_reading(self) -> None:
        """Go on."""

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Have none."""

    def writelines(self, list_of_data: Any) -> None:
        for data in list_of_data:
            self.write(data)

    def write(self, data: Any) -> None:
        self._got += data
        head, end, body = bytes(self._got).partition(b"\r\n\r\n")
        if not end:
            return
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if len(body) < int(headers.get("content-length", 0)):
            return
        self._got.clear()
        network, text = self._network, body.decode()
        form = headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        fields = dict(parse_qsl(text)) if form else json.loads(text or "{}")
        world = self._loop.world
        now, path = (world.clock.monotonic(), world.clock.loop_time), first.split()[1]
        request = Request(self._loop.process, self._loop, *now, path, headers, fields)
        self._request = request
        request.fault = fault = network.server.fault(request)
        network.server.sent(request)
        # By a loop of the network's own: what is on its way arrives, whatever becomes of the client.
        network.loop.call_later(network.latency / 2, self._arrive, request, fault)

    def _arrive(self, request: Request, fault: Fault | None) -> None:
        if fault == "lost":
            self._lose(ConnectionResetError(104, "cut"))
            return
        request.arrived = True
        status, headers, body = self._network.server.answer(request)
        request.status = status
        if fault == "hangs":
            return
        self._network.loop.call_later(self._network.latency / 2, self._answer, request, fault, headers, body)

    def _answer(self, request: Request, fault: Fault | None, headers: Mapping[str, str], body: Any) -> None:
        if self._closed or not self._loop.alive:
            return
        if fault == "unanswered":
            self._lose(ConnectionResetError(104, "cut"))
            return
        request.over = request.answered = True
        content = json.dumps(body).encode()
        lines = [f"HTTP/1.1 {request.status} -", "Content-Type: application/json", f"Content-Length: {len(content)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        data = "\r\n".join([*lines, "", ""]).encode() + content
        self._loop.call_soon_threadsafe(self._receive, data)

    def _receive(self, data: bytes) -> None:
        if not self._closed:
            self._protocol.data_received(data)

    def close(self) -> None:
        self._lose(None)

    def abort(self) -> None:
        self._lose(None)

    def _lose(self, error: OSError | None) -> None:
        if self._closed:
            return
        self._closed = True
        self._network.open.discard(self)
        if self._request is not None and not self._request.over:
            self._request.over = True
            if error is None:
                self._network.server.aborted(self._request)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._protocol.connection_lost, error)
