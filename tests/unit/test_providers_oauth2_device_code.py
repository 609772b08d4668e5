"""The device authorization grant, poll by poll (RFC 8628)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from harness.canary import MARK
from oauth2_kit import PEM, URL, answer, basic
from provider_kit import NOW, MockedHttp, keeps_quiet

from asyncauth import (
    AuthError,
    ConfigurationError,
    CredentialsRejected,
    DeviceCode,
    DevicePrompt,
    InvalidTokenResponse,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth._core.try_state import TryState, set_try
from asyncauth.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

DEVICE = "https://login.example.com/device"
STARTED = {
    "device_code": f"dc-{MARK}",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://example.com/device",
    "verification_uri_complete": "https://example.com/device?code=WDJB-MJHT",
    "expires_in": 600,
    "interval": 7,
}
PENDING = {"error": "authorization_pending"}


class Naps(FakeClock):
    """A clock whose sleeps take no time and are written down."""

    def __init__(self) -> None:
        super().__init__(wall=NOW)
        self.naps: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self._now += seconds
        await asyncio.sleep(0)


def device(show: Callable[[DevicePrompt], object] = lambda _: None, **options: Any) -> DeviceCode:
    return DeviceCode(
        **{"token_url": URL, "device_authorization_url": DEVICE, "client_id": "cli", "show": show, **options}
    )


async def ask(provider: DeviceCode, attempt: TryState, previous: Token | None = None) -> Token:
    set_try(attempt)
    async with aiohttp.ClientSession() as http:
        return await provider.fetch(http, previous)


async def fails(provider: DeviceCode) -> AuthError:
    with pytest.raises(AuthError) as caught:
        await ask(provider, TryState(Naps()))
    return caught.value


async def test_the_whole_way(mocked_http: MockedHttp) -> None:
    """A code, shown; polls at the server's interval, slower when it says so; the token."""
    mocked_http.answers(DEVICE, STARTED)
    for fields in (PENDING, {"error": "slow_down"}, PENDING):
        mocked_http.answers(URL, fields, status=400)
    mocked_http.answers(URL, answer(refresh_token="rt-1"))
    prompts: list[DevicePrompt] = []
    clock = Naps()
    token = await ask(device(prompts.append, scope="a b", resource="urn:r", extra={"t": "1"}), TryState(clock))
    assert prompts == [
        DevicePrompt(
            user_code="WDJB-MJHT",
            verification_uri="https://example.com/device",
            verification_uri_complete="https://example.com/device?code=WDJB-MJHT",
            expires_in=600,
        )
    ]
    assert clock.naps == [7, 7, 12, 12]
    first, *polls = mocked_http.sent
    assert first.form == {"client_id": "cli", "scope": "a b", "resource": "urn:r", "t": "1"}
    grant = "urn:ietf:params:oauth:grant-type:device_code"
    assert {tuple(poll.form.items()) for poll in polls} == {
        (("grant_type", grant), ("device_code", f"dc-{MARK}"), ("client_id", "cli"))
    }
    assert token.refresh_token == "rt-1"


async def test_a_client_with_a_secret(mocked_http: MockedHttp) -> None:
    """It authenticates at both endpoints."""
    mocked_http.answers(DEVICE, {**STARTED, "interval": None})
    mocked_http.answers(URL, answer())
    clock = Naps()
    await ask(device(client_secret="secret"), TryState(clock))
    assert [basic(sent) for sent in mocked_http.sent] == [("cli", "secret")] * 2
    assert clock.naps == [5]  # the interval where the server names none


async def test_nobody_is_asked_while_a_refresh_token_serves(mocked_http: MockedHttp) -> None:
    """The person comes in only when the refresh token is refused."""
    shown: list[DevicePrompt] = []
    previous = Token("old", refresh_token="rt-1")
    mocked_http.answers(URL, answer(refresh_token="rt-2"))
    await ask(device(shown.append), TryState(Naps()), previous)
    assert not shown
    mocked_http.answers(URL, {"error": "invalid_grant"}, status=400)
    mocked_http.answers(DEVICE, STARTED)
    mocked_http.answers(URL, answer())
    await ask(device(shown.append), TryState(Naps()), previous)
    assert len(shown) == 1


async def test_no_lock_is_held_while_a_person_types(mocked_http: MockedHttp) -> None:
    """The store's lock is given back before the code is shown, and after the refresh token was tried."""
    events: list[str] = []

    async def release() -> None:
        events.append("released")

    async def show(prompt: DevicePrompt) -> None:
        events.append("shown")

    mocked_http.answers(DEVICE, STARTED)
    mocked_http.answers(URL, answer())
    await ask(device(show), TryState(Naps(), release=release))
    assert events == ["released", "shown"]


async def test_a_server_that_is_down_is_polled_less(mocked_http: MockedHttp) -> None:
    """No answer, or "not now", ends nothing: the interval doubles (RFC 8628 §3.5), Retry-After counts."""
    mocked_http.answers(DEVICE, STARTED)
    mocked_http.answers(URL, exception=TimeoutError())
    mocked_http.answers(URL, {}, status=503)
    mocked_http.answers(URL, {}, status=429, headers={"Retry-After": "90"})
    mocked_http.answers(URL, answer())
    clock = Naps()
    await ask(device(), TryState(clock))
    assert clock.naps == [7, 14, 28, 90]


@pytest.mark.parametrize(
    ("interval", "expires_in", "naps"),
    [
        (1e-9, 600, [1, 1, 1]),
        ("0.5", 600, [1, 1, 1]),
        (0, 600, [5, 5, 5]),  # as good as none
        (1, 600, [1, 1, 1]),
        (1.5, 600, [1.5, 1.5, 1.5]),
        (1e300, 60, [60]),
        (600, 60, [60]),
        (5, 1e-9, [1]),
        (1e-9, 2, [1]),
    ],
)
async def test_polls_have_a_floor_and_a_ceiling(
    mocked_http: MockedHttp, interval: object, expires_in: float, naps: list[float]
) -> None:
    """Whatever the server says: at least a second between two polls, and no longer than the code lives."""
    mocked_http.answers(DEVICE, {**STARTED, "interval": interval, "expires_in": expires_in})
    mocked_http.answers(URL, PENDING, status=400, times=len(naps) - 1)
    mocked_http.answers(URL, answer() if len(naps) > 1 else PENDING, status=200 if len(naps) > 1 else 400)
    clock = Naps()
    if len(naps) > 1:
        await ask(device(), TryState(clock))
    else:
        with pytest.raises(CredentialsRejected) as caught:
            await ask(device(), TryState(clock))
        assert caught.value.error == "expired_token"
    assert clock.naps == naps


async def test_the_code_expires(mocked_http: MockedHttp) -> None:
    """Not a poll after the end of the code."""
    mocked_http.answers(DEVICE, {**STARTED, "expires_in": 21})
    mocked_http.answers(URL, PENDING, status=400, times=9)
    error = await fails(device())
    assert isinstance(error, CredentialsRejected)
    assert error.error == "expired_token"
    assert error.endpoint == URL
    assert len(mocked_http.sent) == 3


@pytest.mark.parametrize(
    ("status", "headers", "retry_after"), [(429, {"Retry-After": "99999"}, 99999), (503, {}, None)]
)
async def test_an_outage_is_no_refusal(
    mocked_http: MockedHttp, status: int, headers: dict[str, str], retry_after: float | None
) -> None:
    """If the server cannot answer until the code expires, the error says so, and for how long: nobody refused."""
    mocked_http.answers(DEVICE, {**STARTED, "expires_in": 60})
    mocked_http.answers(URL, PENDING, status=400)
    mocked_http.answers(URL, {}, status=status, headers=headers, times=9)
    error = await fails(device())
    assert isinstance(error, TokenEndpointUnavailable)
    assert (error.status, error.retry_after, error.endpoint) == (status, retry_after, URL)


async def test_a_firewalls_page_is_no_answer_to_a_poll(mocked_http: MockedHttp) -> None:
    """The person may still approve: polling goes on, and the code stays the same."""
    mocked_http.answers(DEVICE, STARTED)
    mocked_http.answers(URL, status=403, body=b"<html><title>Request blocked</title></html>")
    mocked_http.answers(URL, answer())
    await ask(device(), TryState(Naps()))
    assert len([sent for sent in mocked_http.sent if sent.url == DEVICE]) == 1


async def test_an_answer_that_may_have_used_the_code_up_ends_it(mocked_http: MockedHttp) -> None:
    """An unreadable success is an error: polling again would find the code spent."""
    mocked_http.answers(DEVICE, STARTED)
    mocked_http.answers(URL, body=b"<html>")
    assert type(await fails(device())) is InvalidTokenResponse
    assert len(mocked_http.sent) == 2


async def test_nobody_approved_in_spite_of_an_outage(mocked_http: MockedHttp) -> None:
    """The last answer counts: a server that is up again says that nobody approved."""
    mocked_http.answers(DEVICE, {**STARTED, "expires_in": 30})
    mocked_http.answers(URL, {}, status=503)
    mocked_http.answers(URL, PENDING, status=400)
    error = await fails(device())
    assert isinstance(error, CredentialsRejected)
    assert len(mocked_http.sent) == 3


@pytest.mark.parametrize(
    ("code", "status", "again"),
    [
        ("access_denied", 400, False),
        ("expired_token", 400, False),
        ("invalid_grant", 400, False),
        ("access_denied", 401, False),
        ("invalid_client", 400, True),
        (None, 401, True),
    ],
)
@pytest.mark.parametrize("kind", ["client_secret", "private_key"])
async def test_who_said_no_is_not_asked_again_for_a_callables_sake(
    mocked_http: MockedHttp, code: str | None, status: int, kind: str, *, again: bool
) -> None:
    """A new secret changes no person's mind; only where the client itself was refused can it help."""
    options: dict[str, Any] = {"client_secret": lambda: "secret"}
    if kind == "private_key":
        options = {"private_key": lambda: PEM, "client_auth": "private_key_jwt"}
    mocked_http.answers(DEVICE, STARTED)
    mocked_http.answers(URL, {"error": code}, status=status, date=None)
    error = await fails(device(**options))
    assert isinstance(error, CredentialsRejected)
    assert error.credential is None
    assert error.may_change is again


async def test_a_person_is_asked_as_seldom_with_a_callable_as_without(mocked_http: MockedHttp) -> None:
    """Somebody who says no each time is asked at most six times in an hour, however often a token is wanted."""
    shown: list[DevicePrompt] = []
    clock = FakeClock(wall=NOW)
    async with TokenManager(device(shown.append, client_secret=lambda: "secret"), clock=clock) as manager:
        for _ in range(60):
            mocked_http.answers(DEVICE, STARTED)
            mocked_http.answers(URL, {"error": "access_denied"}, status=400)
            waiting = asyncio.ensure_future(manager.token())
            await clock.advance(60)
            assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], CredentialsRejected)
    assert 2 <= len(shown) <= 6


@pytest.mark.parametrize("secret", ["auth", "pending", "a", "slow_down"])
async def test_a_secret_that_is_a_piece_of_a_code(mocked_http: MockedHttp, secret: str) -> None:
    """It is taken out of what people see, and the polls go on all the same."""
    mocked_http.answers(DEVICE, STARTED)
    for fields in (PENDING, {"error": "slow_down"}):
        mocked_http.answers(URL, fields, status=400)
    mocked_http.answers(URL, answer())
    clock = Naps()
    await ask(device(client_secret=secret), TryState(clock))
    assert clock.naps == [7, 7, 12]


@pytest.mark.parametrize("code", ["access_denied", "expired_token", "invalid_grant"])
async def test_it_ends_when_the_server_says_so(mocked_http: MockedHttp, code: str) -> None:
    """Any other error is the end."""
    mocked_http.answers(DEVICE, STARTED)
    mocked_http.answers(URL, {"error": code}, status=400)
    error = await fails(device())
    assert isinstance(error, CredentialsRejected)
    assert error.error == code
    keeps_quiet(error, f"dc-{MARK}")


@pytest.mark.parametrize(
    "changes",
    [
        {"device_code": None},
        {"device_code": "a b"},
        {"user_code": ""},
        {"user_code": "A\x1b[31m"},
        {"verification_uri": 1},
        {"expires_in": 0},
        {"interval": "soon"},
    ],
)
async def test_an_answer_that_cant_be_used(mocked_http: MockedHttp, changes: dict[str, object]) -> None:
    """What a person would see, or the polls would need, is looked at first."""
    shown: list[DevicePrompt] = []
    mocked_http.answers(DEVICE, {**STARTED, **changes})
    error = await fails(device(shown.append))
    assert isinstance(error, InvalidTokenResponse)
    assert error.step == "device_authorization"
    assert not shown


async def test_googles_spelling(mocked_http: MockedHttp) -> None:
    """``verification_url`` is read as well, and nothing more is needed."""
    mocked_http.answers(DEVICE, {"device_code": "d", "user_code": "u", "verification_url": "https://g.example"})
    mocked_http.answers(URL, answer())
    shown: list[DevicePrompt] = []
    await ask(device(shown.append), TryState(Naps()))
    assert shown[0].verification_uri == "https://g.example"
    assert shown[0].verification_uri_complete is None


async def test_a_callback_that_fails(mocked_http: MockedHttp) -> None:
    """An error that it raises is shown by its class."""
    mocked_http.answers(DEVICE, STARTED)

    def show(prompt: DevicePrompt) -> None:
        raise RuntimeError(prompt.user_code)

    error = await fails(device(show))
    assert "show callable raised RuntimeError" in str(error)
    assert "WDJB" not in str(error)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"show": None}, "show"),
        ({"device_authorization_url": None}, "device_authorization_url"),
        ({"device_authorization_url": "nowhere"}, "device_authorization_url"),
        ({"token_url": None}, "token_url"),
        ({"deadline": 0}, "deadline"),
        ({"deadline": "60"}, "deadline"),
        ({"deadline": True}, "deadline"),
        ({"deadline": float("nan")}, "deadline"),
        ({"deadline": 10**400}, "deadline"),
    ],
)
def test_arguments_that_cant_work(options: dict[str, Any], words: str) -> None:
    """Refused by name when the provider is made."""
    with pytest.raises(ConfigurationError, match=words):
        device(**options)


def test_its_own_deadline() -> None:
    """A person takes longer than a server; nobody knows whose token it will be."""
    assert device().deadline == 900
    assert device(deadline=60).deadline == 60
    assert device().identity is None
    assert device(account="ana").identity is not None
