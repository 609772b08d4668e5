"""Decides which requests may use the controls: those addressed to this machine by its own name or address."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

import attrs

from asyncauth.sandbox.listener import is_loopback

if TYPE_CHECKING:
    from aiohttp import web

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+))(?::[0-9]{1,5})?")


class RefusedError(Exception):
    """A request that is answered with an error.

    Args:
        status: The HTTP status.
        message: What is wrong, in words.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@attrs.frozen
class Guard:
    """Rejects requests that another web page may have made a browser send.

    Attributes:
        own: The host that the port listens on.
        remote: Whether other machines may connect.
    """

    own: str
    remote: bool

    def host(self, request: web.Request) -> None:
        """Reject a request whose ``Host`` is a name that an attacker could have pointed at this machine.

        With DNS rebinding, another site's name resolves to 127.0.0.1, and the browser treats our answers as that site's
        own. An address can't be rebound. The port is not compared, since it differs behind a forwarded port.

        Raises:
            RefusedError: The host is not ours.
        """
        given = request.headers.getall("Host", [])
        match = _HOST.fullmatch(given[0]) if len(given) == 1 else None
        name = (match[1] or match[2]) if match else ""
        if not (is_loopback(name.lower()) or name == self.own or (self.remote and _is_address(name))):
            raise RefusedError(403, "the sandbox answers only at its own address")

    def admit(self, request: web.Request) -> None:
        """Reject a request whose answer another web page could read.

        Raises:
            RefusedError: See `host`; or the browser says that the request comes from another page.
        """
        self.host(request)
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
            raise RefusedError(403, "requests from other web pages are refused")

    def order(self, request: web.Request) -> None:
        """Reject an order that another web page may have sent.

        Raises:
            RefusedError: The order is not allowed.
        """
        raise NotImplementedError


@attrs.frozen
class OriginGuard(Guard):
    """Accepts orders from programs, and from web pages of one origin.

    Attributes:
        origin: The base URL of the port.
    """

    origin: str

    def order(self, request: web.Request) -> None:
        """Reject an order from a web page of another origin.

        Compares ``Origin`` with our own address, not with the ``Host`` header: for a name that was rebound to
        127.0.0.1, the two headers agree.

        Raises:
            RefusedError: The origin is another one.
        """
        if request.headers.get("Origin", self.origin) != self.origin:
            raise RefusedError(403, "changes from another origin are refused")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
