"""Whether a server can be reached: its name, its port, its certificate, its answer, its clock."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
import time
from typing import TYPE_CHECKING, TypeVar

import aiohttp
import attrs

from asyncauth import expiry
from asyncauth.cli.doctor.clocks import clocks
from asyncauth.cli.doctor.finding import Finding, Mark, fail, ok, skip, warn
from asyncauth.cli.doctor.tls import certificate, distrust

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    from yarl import URL

__all__ = ["reach"]

_T = TypeVar("_T")

_FIRST_SERVER_ERROR = 500
_SECOND = 1.0
"""Seconds to which a ``Date`` header is exact."""


async def reach(name: str, origin: URL, timeout: float, *, whose: str | None = None) -> list[Finding]:  # noqa: ASYNC109 (it names the seconds)
    """Return how far one comes on the way to a server; the last finding fails if it can't be reached.

    Nothing is sent but a GET request without credentials, whose answer is not read.

    Args:
        name: The system's.
        origin: Scheme, host and port.
        timeout: Seconds for each step.
        whose: Whose the server's clock is; ``None`` (default): the system's.
    """
    way = _Way(name, origin, timeout, whose or name)
    for step in (way.resolve, way.connect, way.secure, way.ask):
        found = await step()
        if any(finding.mark is Mark.FAIL for finding in found):
            break
    return way.findings


@attrs.define(eq=False)
class _Way:
    name: str
    origin: URL
    timeout: float
    whose: str
    findings: list[Finding] = attrs.field(factory=list[Finding])

    @property
    def _host(self) -> str:
        return self.origin.host or ""

    @property
    def _place(self) -> str:
        return f"{self._host}:{self.origin.port}"

    def _note(self, *findings: Finding) -> list[Finding]:
        self.findings += findings
        return list(findings)

    async def _within(self, work: Awaitable[_T]) -> _T:
        async with asyncio.timeout(self.timeout):
            return await work

    async def resolve(self) -> list[Finding]:
        """Look the host's name up."""
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(self._host)
            return []
        subject, started = f"{self.name} DNS", time.monotonic()
        try:
            found = await self._within(
                asyncio.get_running_loop().getaddrinfo(self._host, self.origin.port, type=socket.SOCK_STREAM)
            )
        except (OSError, UnicodeError, TimeoutError) as error:
            why = "no answer in time" if isinstance(error, TimeoutError) else getattr(error, "strerror", None)
            return self._note(
                fail(
                    subject,
                    f"{self._host} has no address ({why or type(error).__name__})",
                    "is it spelled right, and has this machine a network and a name server?",
                )
            )
        addresses = len({each[4][0] for each in found})
        count = f"{addresses} address{'' if addresses == 1 else 'es'}"
        return self._note(ok(subject, f"{self._host} has {count} ({_since(started)})"))

    async def connect(self) -> list[Finding]:
        """Open a TCP connection."""
        subject, started = f"{self.name} TCP", time.monotonic()
        try:
            async with self._connection(None):
                pass
        except TimeoutError:
            does = "may this machine connect to the outside, or does it need a proxy (http= in the program)?"
            return self._note(fail(subject, f"{self._place} does not answer within {self.timeout:g} s", does))
        except OSError as error:
            says = f"no connection to {self._place} ({_reason(error)})"
            return self._note(fail(subject, says, "is the server running, and are host and port right?"))
        return self._note(ok(subject, f"{self._place} accepts connections ({_since(started)})"))

    async def secure(self) -> list[Finding]:
        """Make the TLS handshake."""
        if self.origin.scheme != "https":
            return []
        subject = f"{self.name} TLS"
        try:
            async with self._connection(ssl.create_default_context()) as connection:
                tls: ssl.SSLObject = connection.get_extra_info("ssl_object")
                return self._note(certificate(subject, tls.getpeercert() or {}, tls.version() or "TLS", time.time()))
        except ssl.SSLCertVerificationError as error:
            return self._note(distrust(subject, self._host, error))
        except TimeoutError:
            says = f"{self._place} does not finish the handshake within {self.timeout:g} s"
        except ssl.SSLError as error:
            says = f"{self._place} does not speak TLS ({error.reason or type(error).__name__})"
        except OSError as error:
            says = f"{self._place} aborts the handshake ({_reason(error)})"
        return self._note(fail(subject, says, "is this the port for https, and does a proxy stand between?"))

    async def ask(self) -> list[Finding]:
        """Send a request without credentials, and compare clocks by the answer."""
        subject, sent_at, started = f"{self.name} HTTP", time.time(), time.monotonic()
        try:
            async with (
                asyncio.timeout(self.timeout),
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
                http.get(self.origin / "", allow_redirects=False) as response,
            ):
                status, headers = response.status, response.headers
        except TimeoutError:
            says = f"{self._place} does not answer a request within {self.timeout:g} s"
            return self._note(
                fail(subject, says, "it may be overloaded: try again later, or ask the server's operator")
            )
        except (aiohttp.ClientError, OSError) as error:
            says = f"{self._place} does not answer in HTTP ({type(error).__name__})"
            or_tls = ", or is it https?" if self.origin.scheme == "http" else "?"
            return self._note(fail(subject, says, f"does another service listen on that port{or_tls}"))
        took = time.monotonic() - started
        answers = f"answers in {took * 1000:.0f} ms with status {status}"
        if status >= _FIRST_SERVER_ERROR:
            found = warn(subject, answers, "the server has a problem of its own: try again later")
        else:
            found = ok(subject, f"{answers} (any status below 500 will do)")
        return self._note(found, self._clock(headers.get("Date"), headers.get("Age"), sent_at, took))

    def _clock(self, date: str | None, age: str | None, sent_at: float, took: float) -> Finding:
        subject, now = f"{self.name} clock", expiry.server_now(date, age)
        if now is None:
            return skip(subject, "the server's answer has no Date header")
        # It was written between sending and receiving, and its fraction of a second cut off.
        ahead = now + _SECOND / 2 - (sent_at + took / 2)
        return clocks(subject, f"{self.whose}'s clock", ahead, _SECOND / 2 + took / 2)

    @contextlib.asynccontextmanager
    async def _connection(self, tls: ssl.SSLContext | None) -> AsyncGenerator[asyncio.StreamWriter, None]:
        name = None if tls is None else self._host
        _, writer = await self._within(
            asyncio.open_connection(self._host, self.origin.port, ssl=tls, server_hostname=name)
        )
        try:
            yield writer
        finally:
            writer.transport.abort()  # nothing is to be said
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _since(started: float) -> str:
    return f"{(time.monotonic() - started) * 1000:.0f} ms"


def _reason(error: OSError) -> str:
    # asyncio's texts repeat the address; a resolver's numbers are negative and not the system's.
    return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else type(error).__name__
