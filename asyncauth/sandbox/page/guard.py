"""Who may see the page and work its switches: browsers on this machine that show this very page, and nobody else."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

import attrs

from asyncauth.sandbox.control import RefusedError
from asyncauth.sandbox.listener import is_loopback

if TYPE_CHECKING:
    from aiohttp import web

HEADER = "X-Asyncauth-Sandbox"
"""Every order carries it: no web page can send it to another origin without asking, and nobody is allowed to."""

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+))(?::[0-9]{1,5})?")


@attrs.frozen
class Guard:
    """Refuses what can't come from the page itself.

    Attributes:
        own: The host that the page listens on.
        remote: Whether other machines may connect.
    """

    own: str
    remote: bool

    def host(self, request: web.Request) -> None:
        """Refuse a request whose ``Host`` is a name that anybody could have pointed at this machine.

        DNS rebinding makes another site's name resolve to 127.0.0.1; to the browser the page is then that site's
        own. An address can't be rebound. The port is not compared: behind a port that is forwarded it differs.

        Raises:
            RefusedError: The host is none of ours.
        """
        given = request.headers.getall("Host", [])
        match = _HOST.fullmatch(given[0]) if len(given) == 1 else None
        name = (match[1] or match[2]) if match else ""
        if not (is_loopback(name.lower()) or name == self.own or (self.remote and _is_address(name))):
            raise RefusedError(403, "the page answers to its address alone")

    def read(self, request: web.Request) -> None:
        """Refuse to let other pages listen in.

        Raises:
            RefusedError: The browser says that another page asks.
        """
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
            raise RefusedError(403, "another page asks: refused")

    def order(self, request: web.Request) -> None:
        """Refuse an order that does not say that it comes from the page.

        Raises:
            RefusedError: The origin is another one or none, or the page's own header is missing.
        """
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        # Its host has been checked, so that this is our own address.
        own = f"http://{request.headers['Host']}"
        if request.headers.get("Origin") != own or site != "same-origin" or HEADER not in request.headers:
            raise RefusedError(403, f"orders come from this page alone: Origin, Sec-Fetch-Site and {HEADER} say so")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
