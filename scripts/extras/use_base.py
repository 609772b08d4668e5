"""No extra: the base package."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.resources

from asyncauth import ClientCredentials, Peakly, TokenManager, client_session
from asyncauth.sandbox import Sandbox
from asyncauth.stores import MemoryStore
from asyncauth.testing import FakeProvider


def use() -> None:
    """Call an API, share a token, ask the package for its type information and its plugin."""
    asyncio.run(_use())
    assert importlib.resources.files("asyncauth").joinpath("py.typed").is_file()
    (plugin,) = importlib.metadata.entry_points(group="pytest11", name="asyncauth")
    assert plugin.value == "pytest_asyncauth"


async def _use() -> None:
    async with Sandbox() as sandbox:
        peakly = Peakly(username=sandbox.username, password=sandbox.password, base_url=sandbox.peakly.url)
        async with client_session(peakly) as http, http.get(sandbox.peakly.url + "/api/check") as response:
            assert response.status == 200, response.status
    async with TokenManager(FakeProvider(), store=MemoryStore()) as manager:
        assert (await manager.token()).value
    ClientCredentials(token_url="https://login.example.com/token", client_id="c", client_secret="s")
