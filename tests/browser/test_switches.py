"""Each switch of the page changes what a real client of asyncauth's sees, over sockets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias

import aiohttp
import pytest
from browser_kit import Screen

from asyncauth import (
    AuthError,
    CredentialsRejected,
    InvalidTokenResponse,
    PagoFacil,
    PagoFacilJWT,
    PagoFacilLogin,
    Peakly,
    RefreshPolicy,
    TokenEndpointUnavailable,
    TokenManager,
    client_session,
)
from asyncauth.sandbox import Sandbox
from asyncauth.sandbox.page.description import describe

pytestmark = pytest.mark.asyncio(loop_scope="session")

TOKEN_FAULTS: dict[str, type[AuthError] | None] = {
    "disconnect": TokenEndpointUnavailable,
    "hang": TokenEndpointUnavailable,
    "malformed": InvalidTokenResponse,
    "missing_fields": InvalidTokenResponse,
    "redirect": AuthError,
    "replace_fields": InvalidTokenResponse,
    "reset": TokenEndpointUnavailable,
    "server_error": TokenEndpointUnavailable,
    "slow_drip": None,
    "too_many_requests": TokenEndpointUnavailable,
    "unauthorized": CredentialsRejected,
    "wrong_credentials": CredentialsRejected,
}
"""What a caller gets; ``slow_drip`` is a token all the same."""

API_FAULTS: dict[str, object] = {
    "disconnect": aiohttp.ClientConnectionError,
    "hang": TimeoutError,
    "malformed": ValueError,
    "redirect": 307,
    "reset": aiohttp.ClientPayloadError,
    "server_error": 503,
    "slow_drip": 200,
    "too_many_requests": 429,
    "unauthorized": 401,
}
"""What a caller of the API gets: a status, or an error."""


def peakly(sandbox: Sandbox, **options: Any) -> Peakly:
    given = {"username": sandbox.username, "password": "sandbox-password", "base_url": sandbox.peakly.url}
    return Peakly(**{**given, **options})


def jwt(sandbox: Sandbox) -> PagoFacilJWT:
    return PagoFacilJWT.from_password(
        username="demo@example.com", password="sandbox-password", base_url=sandbox.pago_facil.url
    )


async def lifetime(provider: Any) -> float:
    """Obtain a token as a new process would; return how long it lives."""
    async with TokenManager(provider) as manager:
        return (await manager.token()).lifetime or 0.0


async def ask(sandbox: Sandbox, **options: Any) -> tuple[int, Any, aiohttp.ClientResponse]:
    """Ask Peakly's API through a session of asyncauth's."""
    async with (
        client_session(peakly(sandbox)) as http,
        http.get(f"{sandbox.peakly.url}/api/x", **options) as response,
    ):
        return response.status, await response.read(), response


async def test_the_tables_are_whole(sandbox: Sandbox) -> None:
    """Each switch that the page shows is tried below."""
    for system in describe(sandbox.systems.values())["systems"]:  # type: ignore[attr-defined]
        token, api = ({kind["kind"] for kind in plan["kinds"]} for plan in system["plans"])
        assert (token, api) == (set(TOKEN_FAULTS), set(API_FAULTS))
        assert {setting["name"] for setting in system["settings"]} == set(SETTINGS[system["name"]])


@pytest.mark.parametrize("kind", TOKEN_FAULTS)
async def test_a_fault_of_token_requests(screen: Screen, kind: str) -> None:
    """While its switch is on a caller gets what the fault brings; once it is off, a token."""
    expected = TOKEN_FAULTS[kind]
    await screen.turn("token_faults", kind)
    started = time.monotonic()
    if expected is None:
        assert await lifetime(peakly(screen.sandbox))
        assert time.monotonic() - started >= 1
    else:
        async with TokenManager(peakly(screen.sandbox), policy=RefreshPolicy(deadline=0.5)) as manager:
            with pytest.raises(expected):
                await manager.token()
    await screen.turn("token_faults", kind)
    assert await lifetime(peakly(screen.sandbox))


@pytest.mark.parametrize("kind", API_FAULTS)
async def test_a_fault_of_the_api(screen: Screen, kind: str) -> None:
    """While its switch is on a caller of the API gets what the fault brings; once it is off, 200."""
    expected = API_FAULTS[kind]
    await screen.turn("api_faults", kind)
    options = {"allow_redirects": False, "timeout": aiohttp.ClientTimeout(total=1.5 if kind == "hang" else 30)}
    started = time.monotonic()
    if isinstance(expected, int):
        assert (await ask(screen.sandbox, **options))[0] == expected
    elif kind == "malformed":
        assert not (await ask(screen.sandbox, **options))[1].endswith(b"}")
    else:
        with pytest.raises(expected):  # type: ignore[call-overload]
            await ask(screen.sandbox, **options)
    assert kind != "slow_drip" or time.monotonic() - started >= 1
    await screen.turn("api_faults", kind)
    assert (await ask(screen.sandbox))[0] == 200


async def test_the_other_system_is_left_alone(screen: Screen) -> None:
    """A switch affects only its own system and step, with the options that were entered."""
    await screen.turn("token_faults", "server_error", "pago_facil", step="createToken", status="599", times="2")
    assert await lifetime(peakly(screen.sandbox))
    (fault,) = screen.sandbox.pago_facil.token_faults.pending
    assert (fault.step, fault.status, fault.times) == ("createToken", 599, 2)
    assert await lifetime(_login(screen.sandbox))
    async with TokenManager(jwt(screen.sandbox)) as manager:
        assert (await manager.token()).value  # after the two that failed
    assert screen.sandbox.pago_facil.counts.by_step["createToken"] == 3
    row = (await screen.plan("token_faults", "pago_facil")).locator("[data-fault=server_error]")
    await screen.page.wait_for_function("one => !one.checked", arg=await row.element_handle())


Probe: TypeAlias = Callable[[Sandbox], Awaitable[bool]]


def lives(of: Callable[[Sandbox], Any], seconds: float) -> Probe:
    async def probe(sandbox: Sandbox) -> bool:
        return await lifetime(of(sandbox)) == pytest.approx(seconds, abs=0.5)

    return probe


def takes(of: Callable[[Sandbox], Awaitable[Any]], seconds: float) -> Probe:
    async def probe(sandbox: Sandbox) -> bool:
        started = time.monotonic()
        await of(sandbox)
        return time.monotonic() - started >= seconds

    return probe


async def refused(sandbox: Sandbox, **options: Any) -> tuple[int | None, str | None]:
    """Return how a wrong password is refused."""
    async with TokenManager(peakly(sandbox, **options)) as manager:
        try:
            await manager.token()
        except CredentialsRejected as error:
            return error.status, error.error
    return None, None


async def denied(url: str) -> tuple[str | None, int, bool]:
    """Return what a request without a token gets: the challenge, the size, whether it is dated."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/api/x") as response:
        assert response.status == 401
        size = len(await response.read())
        return response.headers.get("WWW-Authenticate"), size, "Date" in response.headers


async def ahead(url: str) -> float:
    """Return by how many seconds a server's clock is ahead, by its Date."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/api/x") as response:
        return parsedate_to_datetime(response.headers["Date"]).timestamp() - time.time()


def denial(of: str, judge: Callable[[tuple[str | None, int, bool]], bool]) -> Probe:
    async def probe(sandbox: Sandbox) -> bool:
        return judge(await denied(sandbox.systems[of].url))

    return probe


def skewed(of: str) -> Probe:
    async def probe(sandbox: Sandbox) -> bool:
        return await ahead(sandbox.systems[of].url) == pytest.approx(-3600, abs=30)

    return probe


async def _renews_by_refresh_token(sandbox: Sandbox) -> bool:
    async with TokenManager(peakly(sandbox)) as manager:
        manager.invalidate(await manager.token())
        await manager.token()
    return sandbox.peakly.counts.by_step["refresh_token"] == 1


async def _keeps_its_refresh_token(sandbox: Sandbox) -> bool:
    sandbox.peakly.settings.refresh_tokens = True

    def held() -> set[str]:
        return {token.fingerprint for token in sandbox.peakly.tokens(50) if token.kind == "refresh_token"}

    async with TokenManager(peakly(sandbox)) as manager:
        manager.invalidate(await manager.token())
        before = held()
        await manager.token()
    return held() == before


async def _forgets_refresh_tokens(sandbox: Sandbox) -> bool:
    sandbox.peakly.settings.refresh_tokens = True
    async with TokenManager(peakly(sandbox)) as manager:
        manager.invalidate(await manager.token())
        await manager.token()  # by password: the refresh token is dead
    return sandbox.peakly.counts.by_step["password"] == 2


async def _knows_another_user(sandbox: Sandbox) -> bool:
    old = await refused(sandbox, username="demo@example.com")
    return old[0] == 401 and await lifetime(peakly(sandbox, username="somebody")) > 0


@contextlib.asynccontextmanager
async def _seed(sandbox: Sandbox) -> AsyncIterator[PagoFacil]:
    """A provider of ``createToken``."""
    async with TokenManager(_login(sandbox)) as login:
        yield PagoFacil(jwt=login, base_url=sandbox.pago_facil.url)


async def _takes_access_tokens(sandbox: Sandbox) -> bool:
    async with (
        _seed(sandbox) as provider,
        client_session(provider) as http,
        http.get(f"{sandbox.pago_facil.url}/trxs") as response,
    ):
        return response.status == 200


async def _access_token_lives_240_s(sandbox: Sandbox) -> bool:
    async with _seed(sandbox) as provider:
        return await lifetime(provider) == pytest.approx(240, abs=1)


async def _pago_facil_user(sandbox: Sandbox) -> bool:
    login = PagoFacilLogin(username="somebody", password="sandbox-password", base_url=sandbox.pago_facil.url)
    return await lifetime(login) > 0


def _login(sandbox: Sandbox) -> PagoFacilLogin:
    return PagoFacilLogin(username="demo@example.com", password="sandbox-password", base_url=sandbox.pago_facil.url)


async def _trxs(sandbox: Sandbox) -> None:
    async with client_session(jwt(sandbox)) as http, http.get(f"{sandbox.pago_facil.url}/trxs") as response:
        assert response.status == 200


def marked(provider: Callable[[Sandbox], Any]) -> Probe:
    """Return whether tokens are marked with what was entered: an opaque one begins so, a JWT says so in its claims."""

    async def seen(sandbox: Sandbox) -> bool:
        async with TokenManager(provider(sandbox)) as manager:
            value = (await manager.token()).value
        claims = value.split(".")[1] if value.count(".") == 2 else ""
        return "marked-" in value or b"marked-" in base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))

    return seen


def both(of: str) -> dict[str, tuple[str | bool, Probe]]:
    """What both systems have."""
    provider: Any = peakly if of == "peakly" else jwt
    return {
        "token_latency": ("0.4", takes(lambda sandbox: lifetime(provider(sandbox)), 0.4)),
        "api_latency": ("0.4", takes(ask if of == "peakly" else _trxs, 0.4)),
        "clock_skew": ("-3600", skewed(of)),
        "date_header": (False, denial(of, lambda answer: not answer[2])),
        "www_authenticate": ('Bearer realm="x"', denial(of, lambda answer: answer[0] == 'Bearer realm="x"')),
        "token_prefix": ("marked-", marked(provider)),
        "big_refusal": ("5000", denial(of, lambda answer: answer[1] >= 5000)),
    }


SETTINGS: dict[str, dict[str, tuple[str | bool, Probe]]] = {
    "peakly": {
        **both("peakly"),
        "lifetime": ("120", lives(peakly, 119)),
        "truncate_expires_in": (False, lives(peakly, 14 * 86400)),
        "refresh_tokens": (True, _renews_by_refresh_token),
        "rotate_refresh_tokens": (False, _keeps_its_refresh_token),
        "refresh_lifetime": ("0", _forgets_refresh_tokens),
        "owin_refusals": (True, lambda sandbox: _is(refused(sandbox, password="no"), (400, "invalid_grant"))),
        "username": ("somebody", _knows_another_user),
        "accept_any_username": (True, lambda sandbox: _is(refused(sandbox, username="anybody"), (None, None))),
    },
    "pago_facil": {
        **both("pago_facil"),
        "login_lifetime": ("120", lives(_login, 120)),
        "create_token_lifetime": ("240", _access_token_lives_240_s),
        "login_token_lifetime": ("360", lives(jwt, 360)),
        "api_accepts_access_tokens": (True, _takes_access_tokens),
        "username": ("somebody", _pago_facil_user),
        "accept_any_username": (True, _pago_facil_user),
    },
}
"""What is entered, and whether a client then sees it. Before, no client does."""


async def _is(answer: Awaitable[object], expected: object) -> bool:
    return await answer == expected


@pytest.mark.parametrize(("system", "name"), [(system, name) for system in SETTINGS for name in SETTINGS[system]])
async def test_a_setting(screen: Screen, system: str, name: str) -> None:
    """A client sees what was entered, and did not before."""
    value, seen = SETTINGS[system][name]
    with contextlib.suppress(AuthError):
        assert not await seen(screen.sandbox)
    await screen.reset()
    await screen.enter(name, value, system)
    assert await seen(screen.sandbox)


async def test_connections_refused(screen: Screen) -> None:
    """A system whose connections are refused can't be reached until the switch is off; the page stays."""
    await screen.enter("refuse_connections", True, "peakly")
    async with TokenManager(peakly(screen.sandbox), policy=RefreshPolicy(deadline=0.5)) as manager:
        with pytest.raises(TokenEndpointUnavailable):
            await manager.token()
    await screen.enter("refuse_connections", False, "peakly")
    assert await lifetime(peakly(screen.sandbox))


async def test_connections_cut(screen: Screen) -> None:
    """The button cuts the connections that there are, and lets new ones in."""
    reader, writer = await asyncio.open_connection("127.0.0.1", screen.sandbox.peakly.port)
    with contextlib.closing(writer):
        await screen.open_all()
        await screen.press(screen.card("peakly").locator("button.abort"))
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    assert await lifetime(peakly(screen.sandbox))
