"""The pytest plugin, as other projects' tests meet it: each test here runs a pytest of its own (some 2 s)."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

OPTIONS = ("-p", "no:cacheprovider", "-p", "no:randomly", "-W", "error")
ASYNC = (*OPTIONS, "-o", "asyncio_default_fixture_loop_scope=function")

USES = """
import pytest
import requests_of_mine
from asyncauth import TokenManager
from asyncauth.testing import FakeProvider


def test_sync(asyncauth_sandbox):
    import asyncio
    assert asyncio.run(requests_of_mine.check(asyncauth_sandbox)) == 200
    assert asyncauth_sandbox.peakly.counts.token_requests == 1


async def test_of_pytest_asyncio(asyncauth_sandbox):
    assert await requests_of_mine.check(asyncauth_sandbox) == 200


async def test_clock(asyncauth_clock):
    provider = FakeProvider(clock=asyncauth_clock, lifetime=60)
    async with TokenManager(provider, clock=asyncauth_clock) as manager:
        first = await manager.token()
        await asyncauth_clock.advance(61)
        assert await manager.token() != first


@pytest.fixture
async def address(asyncauth_sandbox):
    return asyncauth_sandbox.peakly.url


async def test_from_an_async_fixture(address):
    assert address.startswith("http://127.0.0.1:")
"""

ANYIO = """
import pytest
import requests_of_mine


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.anyio
async def test_of_anyio(asyncauth_sandbox):
    assert await requests_of_mine.check(asyncauth_sandbox) == 200
"""

MINE = """
from asyncauth import Peakly, client_session


async def check(sandbox):
    peakly = Peakly(username=sandbox.username, password=sandbox.password, base_url=sandbox.peakly.url)
    async with client_session(peakly) as http, http.get(f"{sandbox.peakly.url}/api/check") as response:
        return response.status
"""


@pytest.fixture(autouse=True)
def _code(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(requests_of_mine=MINE)


def test_fixtures_serve_every_kind_of_test_in_auto_mode(pytester: pytest.Pytester) -> None:
    """Sync tests, async tests and async fixtures use the sandbox and the clock."""
    pytester.makepyfile(USES)
    result = pytester.runpytest_subprocess(*ASYNC, "--asyncio-mode=auto")
    result.assert_outcomes(passed=4)


def test_fixtures_serve_every_kind_of_test_in_strict_mode(pytester: pytest.Pytester) -> None:
    """The fixtures are not async, so they work in every mode, and for tests of anyio and of pytest-asyncio."""
    strict = USES.replace("async def test", "@pytest.mark.asyncio\nasync def test")
    strict = strict.replace("@pytest.fixture\nasync", "@pytest_asyncio.fixture\nasync")
    pytester.makepyfile(test_strict="import pytest_asyncio\n" + strict, test_anyio=ANYIO)
    result = pytester.runpytest_subprocess(*ASYNC, "--asyncio-mode=strict")
    result.assert_outcomes(passed=5)


def test_the_plugin_costs_nothing_until_a_fixture_is_used(pytester: pytest.Pytester) -> None:
    """It is loaded, and neither asyncauth nor aiohttp is imported: coverage.py sees every line of the first import."""
    pytester.makepyfile("""
        import sys

        def test_it(request):
            assert request.config.pluginmanager.has_plugin("asyncauth")
            assert not {"asyncauth", "aiohttp"} & set(sys.modules)
    """)
    # Plugins of other projects may import either.
    others = ("asyncio", "anyio", "xdist", "timeout", "hypothesispytest")
    result = pytester.runpytest_subprocess(*OPTIONS, *(part for name in others for part in ("-p", f"no:{name}")))
    result.assert_outcomes(passed=1)


def test_the_fixtures_say_what_they_are(pytester: pytest.Pytester) -> None:
    """``pytest --fixtures`` lists them with their first lines."""
    result = pytester.runpytest_subprocess(*ASYNC, "--fixtures")
    result.stdout.fnmatch_lines(["*asyncauth_sandbox*", "*running*Sandbox*", "*asyncauth_clock*", "*FakeClock*"])
