"""The sandbox's page: the requests to both systems, live, with a switch for every fault and setting."""

from __future__ import annotations

from asyncauth.sandbox.page.server import Page

__all__ = ["Page"]
