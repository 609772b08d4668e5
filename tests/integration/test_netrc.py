"""A ``.netrc`` file with an entry for the API: aiohttp reads it with ``trust_env=True``, as ``HTTPS_PROXY`` needs."""

from __future__ import annotations

import base64
import warnings
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio
from harness.canary import secret
from loopback import Api, nothing_left, redirect_to

from asyncauth import BearerAuth, TokenManager
from asyncauth.testing import FakeProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def entry(machine: str) -> str:
    return f"{machine} login me password {secret('netrc')}\n"


@pytest_asyncio.fixture(autouse=True)
async def tidy() -> AsyncIterator[None]:
    async with nothing_left():
        yield


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Write the file, with an entry for the API unless a test says otherwise; ``None``: there is none."""
    file, text = tmp_path / "netrc", getattr(request, "param", entry("machine 127.0.0.1"))
    if text is not None:
        file.write_text(text)
    monkeypatch.setenv("NETRC", str(file))


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Api]:
    async with Api("token-1", "token-2").serve() as api:
        yield api


@pytest_asyncio.fixture
async def provider(api: Api) -> FakeProvider:
    return FakeProvider(origins=(api.url,))


@pytest_asyncio.fixture
async def http(provider: FakeProvider) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        TokenManager(provider) as manager,
        aiohttp.ClientSession(middlewares=(BearerAuth(manager),), trust_env=True) as http,
    ):
        yield http


async def status_of(http: aiohttp.ClientSession, url: str, **options: Any) -> int:
    async with http.get(url, **options) as response:
        await response.read()
        return response.status


@pytest.mark.usefixtures("netrc")
@pytest.mark.parametrize("netrc", [entry("machine 127.0.0.1"), entry("default")], indirect=True)
async def test_the_token_is_sent(api: Api, http: aiohttp.ClientSession) -> None:
    """A header from the file does not count as the caller's, nor after a redirect or a 401."""
    api.routes["/a"] = redirect_to("/b")
    assert await status_of(http, f"{api.url}/a") == 200
    api.good = {"token-2"}
    assert await status_of(http, f"{api.url}/x") == 200
    assert api.tokens == ["token-1", "token-1", "token-1", "token-2"]


@pytest.mark.usefixtures("netrc")
async def test_other_origins_get_what_aiohttp_sends(api: Api, http: aiohttp.ClientSession) -> None:
    """Where no manager's token goes, the file's entry does."""
    async with Api().serve() as other:
        other.good = None
        assert await status_of(http, f"{other.url}/x") == 200
        (got,) = other.got
        assert got.headers["Authorization"].startswith("Basic ")


@pytest.mark.usefixtures("netrc")
@pytest.mark.parametrize("netrc", ["", entry("machine api.example.com"), "nonsense", None], indirect=True)
async def test_a_file_that_says_nothing_of_the_host(api: Api, http: aiohttp.ClientSession) -> None:
    """No entry, another host's, a damaged file and none at all: a Basic header is the caller's own, and stays."""
    api.good = None
    assert await status_of(http, f"{api.url}/x") == 200
    assert await status_of(http, f"{api.url}/x", headers={"Authorization": "Basic eDp5"}) == 200
    assert [got.headers["Authorization"] for got in api.got] == ["Bearer token-1", "Basic eDp5"]


@pytest.mark.usefixtures("netrc")
async def test_what_the_caller_set_stays(api: Api, http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """``auth=`` wins over the file in aiohttp, and over the token here."""
    api.good = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert await status_of(http, f"{api.url}/x", auth=aiohttp.BasicAuth("other", "x")) == 200
    assert api.got[0].headers["Authorization"] == basic("other", "x")
    assert provider.calls == 0


@pytest.mark.usefixtures("netrc")
async def test_without_trust_env_nothing_is_read(api: Api, provider: FakeProvider) -> None:
    """aiohttp does not read the file then, so a header that is equal to the entry is the caller's own."""
    api.good = None
    mine = basic("me", secret("netrc"))
    async with (
        TokenManager(provider) as manager,
        aiohttp.ClientSession(middlewares=(BearerAuth(manager),)) as http,
    ):
        assert await status_of(http, f"{api.url}/x", headers={"Authorization": mine}) == 200
    assert api.got[0].headers["Authorization"] == mine
