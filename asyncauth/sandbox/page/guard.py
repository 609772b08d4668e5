"""Who may work the page's switches: the page itself, in a browser on this machine."""

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
    """Obeys the page alone."""

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
