"""The sandbox's page: what goes on in both systems, live, with a switch for everything that can go wrong."""

from __future__ import annotations

from asyncauth.sandbox.page.server import Page

__all__ = ["Page"]
