"""Signed assertions and proofs where this machine's clock and the server's differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from harness.canary import MARK
from oauth2_kit import PEM, URL, answer, jwt_part
from provider_kit import NOW, MockedHttp, Sent, failure, fetch

from asyncauth import ClientCredentials, CredentialsRejected, JWTBearer, Provider, TokenManager
from asyncauth.testing import FakeClock

KEY: dict[str, Any] = {"client_auth": "private_key_jwt", "private_key": PEM}
NO = {"error": "invalid_client"}
LONG_AGO = NOW - 65


def by_key() -> ClientCredentials:
    return ClientCredentials(token_url=URL, client_id="app", **KEY)


def by_assertion() -> JWTBearer:
    return JWTBearer(token_url=URL, private_key=PEM, assertion_issuer="robot@example.com")


def by_proof() -> ClientCredentials:
    return ClientCredentials(token_url=URL, client_id="app", client_secret=MARK, dpop=True)


def signed_at(sent: Sent) -> float:
    """Return the time that a request's assertion or proof names."""
    signed = sent.headers.get("DPoP") or sent.form.get("client_assertion") or sent.form["assertion"]
    return float(jwt_part(signed, 1)["iat"])


MAKERS = pytest.mark.parametrize("make", [by_key, by_assertion, by_proof])


def dated(provider: Provider) -> dict[str, object]:
    return answer(token_type="DPoP" if getattr(provider, "prover", None) else "bearer")


@MAKERS
@pytest.mark.parametrize("off", [-3600.0, -65.0, -3.0, 3.0, 65.0, 3600.0])
async def test_a_refusal_is_tried_once_more_by_the_servers_clock(
    mocked_http: MockedHttp, make: Callable[[], Provider], off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second request names a time that the server's clock has reached; so do later ones."""
    monkeypatch.setattr("time.time", lambda: NOW)  # what DPoP proofs go by, until the server's clock is known
    provider, clock = make(), FakeClock(wall=NOW)
    mocked_http.answers(URL, NO, status=401, date=NOW + off)
    mocked_http.answers(URL, dated(provider), times=2, date=NOW + off)
    await fetch(provider, clock=clock)
    await clock.advance(100)
    clock.set_wall(NOW - 1e6)  # setting this machine's clock changes nothing
    await fetch(provider, clock=clock)
    assert [signed_at(sent) for sent in mocked_http.sent] == [NOW - 2, NOW + off - 2, NOW + off + 100 - 2]


@MAKERS
async def test_a_server_that_fails_on_a_time_is_asked_by_its_own_clock_next(
    mocked_http: MockedHttp, make: Callable[[], Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer of 500 has a ``Date`` as well: the next try names a time that the server expects. None is made here."""
    monkeypatch.setattr("time.time", lambda: NOW)
    provider, clock = make(), FakeClock(wall=NOW)
    mocked_http.answers(URL, {}, status=500, date=NOW - 3600)
    await failure(provider, clock=clock)
    assert len(mocked_http.sent) == 1
    mocked_http.answers(URL, dated(provider), date=NOW - 3600)
    await fetch(provider, clock=clock)
    assert [signed_at(sent) for sent in mocked_http.sent] == [NOW - 2, NOW - 3602]


@MAKERS
@pytest.mark.parametrize("date", [NOW - 2.0, NOW - 1.0, NOW, NOW + 1.0, None])
async def test_clocks_that_agree_cost_no_second_try(
    mocked_http: MockedHttp, make: Callable[[], Provider], date: float | None
) -> None:
    """A ``Date`` is exact to a second, and assertions lie two in the past: the reason is another."""
    mocked_http.answers(URL, NO, status=401, date=date)
    error = await failure(make())
    assert isinstance(error, CredentialsRejected)
    assert "clock" not in str(error)
    assert len(mocked_http.sent) == 1


@MAKERS
@pytest.mark.parametrize(
    ("off", "words"),
    [
        (-65.0, "; this machine's clock is 64 s ahead of the server's"),
        (65.0, "; this machine's clock is 65 s behind the server's"),
    ],
)
async def test_the_error_names_the_clock(
    mocked_http: MockedHttp, make: Callable[[], Provider], off: float, words: str
) -> None:
    """If the second try is refused as well, there is no third, and the error says how far the clock is off."""
    mocked_http.answers(URL, NO, status=401, date=NOW + off, times=2)
    error = await failure(make())
    assert isinstance(error, CredentialsRejected)
    assert words in str(error)
    assert len(mocked_http.sent) == 2


@MAKERS
@pytest.mark.parametrize("code", ["access_denied", "invalid_scope", "unauthorized_client"])
async def test_other_refusals_are_nobodys_clocks_fault(
    mocked_http: MockedHttp, make: Callable[[], Provider], code: str
) -> None:
    """A code that says what is wrong otherwise costs no second try."""
    mocked_http.answers(URL, {"error": code}, status=400, date=LONG_AGO)
    error = await failure(make())
    assert "clock" not in str(error)
    assert len(mocked_http.sent) == 1


async def test_a_secret_has_no_time(mocked_http: MockedHttp) -> None:
    """Where nothing is signed, a clock that is off has no part in a refusal."""
    mocked_http.answers(URL, NO, status=401, date=LONG_AGO)
    error = await failure(ClientCredentials(token_url=URL, client_id="app", client_secret=MARK))
    assert "clock" not in str(error)
    assert len(mocked_http.sent) == 1


async def test_a_given_assertion_is_sent_once(mocked_http: MockedHttp) -> None:
    """One that was signed elsewhere would be the same again."""
    mocked_http.answers(URL, {"error": "invalid_grant"}, status=400, date=LONG_AGO)
    await failure(JWTBearer(token_url=URL, assertion=MARK, account="a"))
    assert len(mocked_http.sent) == 1


async def test_a_nonce_and_then_the_time(mocked_http: MockedHttp) -> None:
    """A proof that lacked a nonce, and then named a wrong time, is made a third time, and no fourth."""
    mocked_http.answers(URL, {"error": "use_dpop_nonce"}, status=400, date=LONG_AGO, headers={"DPoP-Nonce": "n"})
    mocked_http.answers(URL, {"error": "invalid_dpop_proof"}, status=400, date=LONG_AGO, times=2)
    error = await failure(by_proof())
    assert error.error == "invalid_dpop_proof"
    assert len(mocked_http.sent) == 3


@pytest.mark.parametrize(("given", "lasts"), [(1, 4), (60, 60), (3600, 3600)])
async def test_an_assertion_is_good_for_as_long_as_was_asked(mocked_http: MockedHttp, given: int, lasts: int) -> None:
    """Servers limit the time from ``iat`` to ``exp``; with both in the past, the assertion would be useless."""
    mocked_http.answers(URL, answer())
    await fetch(
        JWTBearer(token_url=URL, private_key=PEM, assertion_issuer="robot@example.com", assertion_lifetime=given)
    )
    claims = jwt_part(mocked_http.sent[0].form["assertion"], 1)
    assert claims["exp"] - claims["iat"] == lasts
    assert claims["exp"] > NOW


@pytest.mark.parametrize("off", [-65.0, 65.0])
async def test_a_manager_has_its_token_with_a_wrong_clock(
    mocked_http: MockedHttp, clock: FakeClock, off: float
) -> None:
    """Its caller meets no error, and the refusal is not remembered."""
    now = clock.wall() + off
    mocked_http.answers(URL, NO, status=401, date=now)
    mocked_http.answers(URL, answer(), date=now)
    manager = TokenManager(by_key(), clock=clock)
    assert (await manager.token()).value == "at-1"
    assert manager.status().failures == 0
