"""Who may give orders on the page's port: the page itself, in a browser on this machine, and programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from asyncauth.sandbox.guard import Guard, RefusedError

if TYPE_CHECKING:
    from aiohttp import web

HEADER = "X-Asyncauth-Sandbox"
"""Every order carries it: no web page can send it to another origin without asking, and nobody is allowed to."""


@attrs.frozen
class PageGuard(Guard):
    """Obeys the page, and programs: when a system refuses connections, this port still has the controls."""

    def order(self, request: web.Request) -> None:
        """Refuse an order of a browser that does not say that it comes from the page.

        A browser sends ``Origin`` with each order, and ``Sec-Fetch-Site``. A request with neither is a program's.

        Raises:
            RefusedError: The origin is another one or none, or the page's own header is missing.
        """
        if not {"Origin", "Sec-Fetch-Site", HEADER} & set(request.headers):
            return
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        # Its host has been checked, so that this is our own address.
        own = f"http://{request.headers['Host']}"
        if request.headers.get("Origin") != own or site != "same-origin" or HEADER not in request.headers:
            raise RefusedError(403, f"orders come from this page alone: Origin, Sec-Fetch-Site and {HEADER} say so")
