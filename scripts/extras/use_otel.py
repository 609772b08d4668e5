"""OpenTelemetry: spans and metrics."""

from __future__ import annotations

import asyncio
import importlib

from asyncauth import TokenManager
from asyncauth.testing import FakeProvider


def use() -> None:
    """Listen to a refresh."""
    listener = importlib.import_module("asyncauth.telemetry.otel").OpenTelemetry()

    async def refreshed() -> None:
        async with TokenManager(FakeProvider()) as manager:
            manager.add_listener(listener)
            await manager.token()

    asyncio.run(refreshed())


def without() -> None:
    """Import it."""
    importlib.import_module("asyncauth.telemetry.otel")
