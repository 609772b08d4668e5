"""Decides who may give orders on the page's port: the page itself, in a browser on this machine, and programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from asyncauth.sandbox.guard import Guard, RefusedError

if TYPE_CHECKING:
    from aiohttp import web

HEADER = "X-Asyncauth-Sandbox"
"""Every order carries it. A web page can send it to another origin only with permission, which no page has."""


@attrs.frozen
class PageGuard(Guard):
    """Accepts orders from the page and from programs, which need this port when a system refuses connections."""

    def order(self, request: web.Request) -> None:
        """Reject an order of a browser that does not say that it comes from the page.

        A browser sends ``Origin`` with each order, and ``Sec-Fetch-Site``. A request with neither comes from a program.

        Raises:
            RefusedError: The origin is another one or missing, or the page's own header is missing.
        """
        if not {"Origin", "Sec-Fetch-Site", HEADER} & set(request.headers):
            return
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        # Its host was checked, so this is our own address.
        own = f"http://{request.headers['Host']}"
        if request.headers.get("Origin") != own or site != "same-origin" or HEADER not in request.headers:
            raise RefusedError(
                403, f"only this page may change settings: Origin, Sec-Fetch-Site and {HEADER} must show it"
            )
