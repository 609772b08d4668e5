"""The API and its token endpoint, in a process of its own: nothing but a socket and counters, so that it costs little.

Run: python -m benchmarks.server (it prints its port, and ends with its standard input)

``GET /api`` takes any token that is alive, and `STATIC` always; ``POST /token`` is an OAuth 2.0 token endpoint;
``POST /control`` sets what its JSON body names, and returns the counts.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Any
from urllib.parse import parse_qs

import attrs

BACKLOG = 16_384
STATIC = "static-token-that-is-as-long-as-the-rest"
"""A token that is always alive, of 40 characters, as those are that the token endpoint makes."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_BEARER = re.compile(rb"\r\nauthorization: *bearer ([^\r]+)", re.IGNORECASE)
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n" + b'{"ok":true}'
_DENIED = (
    b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\n"
    b'WWW-Authenticate: Bearer error="invalid_token"\r\nContent-Length: 12\r\n\r\n{"ok":false}'
)


@attrs.define
class Settings:
    """What can be set, and what is counted. Durations in seconds.

    Attributes:
        lifetime: Of a token.
        token_latency: Of the token endpoint.
        api_latency: Of the API.
        fail: The status that the token endpoint answers; 0 = it works.
        deny: Whether the API refuses every token.
        tokens: How many token requests there were.
        answered: How many requests the API answered with 200.
        denied: How many with 401.
    """

    lifetime: float = 3600.0
    token_latency: float = 0.0
    api_latency: float = 0.0
    fail: int = 0
    deny: bool = False
    tokens: int = 0
    answered: int = 0
    denied: int = 0


class Service:
    """What all connections share."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.alive: dict[bytes, float] = {}
        self._number = 0

    def admits(self, token: bytes | None) -> bool:
        if token == STATIC.encode():
            return True
        if self.settings.deny or token is None:
            return False
        return self.alive.get(token, 0.0) > time.monotonic()

    def issue(self, form: dict[str, list[str]]) -> tuple[int, dict[str, object]]:
        if self.settings.fail:
            error = "invalid_client" if self.settings.fail < 500 else "server_error"  # noqa: PLR2004
            return self.settings.fail, {"error": error}
        self._number += 1
        value = f"token-{self._number:034d}"
        self.alive[value.encode()] = time.monotonic() + self.settings.lifetime
        lifetime = self.settings.lifetime
        answer: dict[str, object] = {
            "access_token": value,
            "token_type": "Bearer",
            "expires_in": int(lifetime) if lifetime.is_integer() else lifetime,
        }
        if form.get("grant_type") == ["refresh_token"]:
            answer["refresh_token"] = form["refresh_token"][0]
        return 200, answer

    def control(self, changes: dict[str, Any]) -> dict[str, object]:
        if changes.pop("reset", False):
            self.settings = Settings()
            self.alive.clear()
        if changes.pop("revoke", False):
            self.alive.clear()
        for name, value in changes.items():
            setattr(self.settings, name, value)
        return attrs.asdict(self.settings)


class Connection(asyncio.Protocol):
    """One connection. Requests come one after another: nobody here sends several at once."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            self._buffer = buffer
            return
        length = _LENGTH.search(buffer, 0, end)
        total = end + 4 + (int(length[1]) if length else 0)
        if len(buffer) < total:
            self._buffer = buffer
            return
        self._buffer = b""
        self._answer(buffer[:end], buffer[end + 4 : total])

    def _answer(self, head: bytes, body: bytes) -> None:
        service, settings = self._service, self._service.settings
        if head.startswith(b"GET /api"):
            bearer = _BEARER.search(head)
            admitted = service.admits(bearer[1] if bearer else None)
            if head.startswith(b"GET /api/open"):
                self._later(_OK, 0.0)
            elif admitted:
                settings.answered += 1
                self._later(_OK, settings.api_latency)
            else:
                settings.denied += 1
                self._later(_DENIED, settings.api_latency)
        elif head.startswith(b"POST /control"):
            self._later(_json(200, service.control(json.loads(body))), 0.0)
        else:
            settings.tokens += 1
            asyncio.get_running_loop().call_later(settings.token_latency, self._issue, body)

    def _issue(self, body: bytes) -> None:
        self._send(_json(*self._service.issue(parse_qs(body.decode()))))

    def _later(self, answer: bytes, seconds: float) -> None:
        if seconds:
            asyncio.get_running_loop().call_later(seconds, self._send, answer)
        else:
            self._send(answer)

    def _send(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


def _json(status: int, payload: dict[str, object]) -> bytes:
    body = json.dumps(payload).encode()
    return b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        status,
        len(body),
        body,
    )


async def main() -> None:
    """Serve on a free port of loopback until standard input ends."""
    service, loop = Service(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(service), "127.0.0.1", 0, backlog=BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    server.close()


def serve() -> None:
    """Serve, on uvloop where there is one."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())


if __name__ == "__main__":
    serve()
