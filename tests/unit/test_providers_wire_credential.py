"""What a provider proves itself with: strings, callables, managers, providers, and what becomes of bad ones."""

from __future__ import annotations

import asyncio
import copy
import functools
import pickle
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from core_kit import engine_of
from harness.canary import MARK
from provider_kit import NOW, MockedHttp, failure, fetch, keeps_quiet

from asyncauth import (
    AuthError,
    ConfigurationError,
    CredentialsRejected,
    InvalidTokenResponse,
    PagoFacil,
    PagoFacilJWT,
    PagoFacilLogin,
    Peakly,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth._core.try_state import TryState, set_try
from asyncauth.testing import FakeClock, FakeProvider, mock_aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable

CREATE = "https://api.pgf.cl/tokens/createToken"
PEAKLY = "https://api.peakly.co/token"
SECRET = f"{MARK}.secret.jwt"
GRANTED = {"access_token": "new-access", "expiration_date": int(NOW) + 3600}
REFUSED = {"message": "Invalid Token"}


def sent_bearers(mocked_http: MockedHttp) -> list[str]:
    return [sent.headers["Authorization"].removeprefix("Bearer ") for sent in mocked_http.sent]


@attrs.define(repr=False)
class Source:
    """A token source that is not a manager: three methods, which record their arguments."""

    values: list[str]
    error: AuthError | None = None
    told: list[tuple[str, str, bool]] = attrs.field(factory=list)

    async def token(self) -> Token:
        if self.error is not None:
            raise self.error
        return Token(self.values[0])

    def invalidate(self, token: Token, *, repeat: bool = False) -> None:
        self.told.append(("refused", token.value, repeat))
        if len(self.values) > 1:
            self.values.pop(0)

    def accepted(self, token: Token, *, repeat: bool = False) -> None:
        self.told.append(("accepted", token.value, repeat))


class CalledObject:
    """An object that is called like a function."""

    def __init__(self, value: str) -> None:
        self.value = value

    def __call__(self) -> str:
        return self.value


async def asynchronous(value: str = SECRET) -> str:
    await asyncio.sleep(0)
    return value


# --- Kinds


@pytest.mark.parametrize(
    "credential",
    [
        SECRET,
        lambda: SECRET,
        asynchronous,
        functools.partial(asynchronous, SECRET),
        lambda: asynchronous(SECRET),
        CalledObject(SECRET),
        Source([SECRET]),
        FakeProvider(answers=[Token(SECRET)]),
    ],
    ids=["str", "function", "async", "partial", "returns awaitable", "callable object", "source", "provider"],
)
async def test_every_kind_of_credential(mocked_http: MockedHttp, credential: Any) -> None:
    """A string, a callable, an async one, whatever returns an awaitable, a token source, a provider."""
    mocked_http.answers(CREATE, GRANTED)
    provider = PagoFacil(jwt=credential)
    assert (await fetch(provider)).value == "new-access"
    assert sent_bearers(mocked_http) == [SECRET]
    assert SECRET not in repr(provider)


async def test_a_manager_as_credential(mocked_http: MockedHttp) -> None:
    """Another manager lends its token, and obtains it once for many."""
    upstream = FakeProvider(answers=[Token(SECRET)])
    mocked_http.answers(CREATE, GRANTED, times=2)
    async with TokenManager(upstream) as login:
        await fetch(PagoFacil(jwt=login))
        await fetch(PagoFacil(jwt=login))
    assert sent_bearers(mocked_http) == [SECRET, SECRET]
    assert upstream.calls == 1


async def test_a_callable_is_asked_for_each_request(mocked_http: MockedHttp) -> None:
    """What a callable returns is never kept: a changed password is used at once."""
    passwords = iter(["first", "second"])
    mocked_http.answers(PEAKLY, {"access_token": "x"}, times=2)
    provider = Peakly(username="ana", password=lambda: next(passwords))
    await fetch(provider)
    await fetch(provider)
    assert [sent.form["password"] for sent in mocked_http.sent] == ["first", "second"]


@pytest.mark.parametrize("password", ["Contraseña ☃", " leading and trailing ", "tab\tinside", "a" * 5000, "ñ", "\x07"])
async def test_passwords_travel_as_they_are(mocked_http: MockedHttp, password: str) -> None:
    """A password in a body may hold what a header can't, blanks at its ends included."""
    mocked_http.answers(PEAKLY, {"access_token": "x"})
    mocked_http.answers("https://api.pgf.cl/login", {"access_token_jwt": "x"})
    await fetch(Peakly(username="ana", password=password))
    await fetch(PagoFacilLogin(username="ana", password=password))
    assert mocked_http.sent[0].form["password"] == password
    assert mocked_http.sent[1].json["password"] == password


# --- Bad ones


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "not NoneType"),
        (7, "not int"),
        (b"secret", "not bytes"),
        (["secret"], "not list"),
        ("", "is empty"),
        ("  ", "white space: strip() it"),
        (" my-secret", "white space: strip() it"),
        ("my-secret\n", "white space: strip() it"),
        ("my\nsecret", "can't travel in a header"),
        ("my secret", "can't travel in a header"),
        ("my-secret-é", "can't travel in a header"),
        ("my\x00secret", "can't travel in a header"),
    ],
)
@pytest.mark.parametrize("called", [False, True])
async def test_a_bad_bearer(*, mocked_http: MockedHttp, value: Any, words: str, called: bool) -> None:
    """A credential that can't travel in a header is refused before anything is sent; its value is not shown."""
    if called:
        error: AuthError = await failure(PagoFacil(jwt=lambda: value))
    else:
        with pytest.raises(ConfigurationError) as caught:
            PagoFacil(jwt=value)
        error = caught.value
    assert type(error) is ConfigurationError
    assert "jwt" in error.message
    shown = f"{error.message}: {error.advice}"
    assert words in shown or (called and "not str" in shown)
    keeps_quiet(error, "my-secret", "my\nsecret", "my secret", "my\x00secret", "my\\nsecret", "my\\x00secret")
    assert not mocked_http.sent


@pytest.mark.parametrize("value", ["", "hunter2\n", "hun\r\nter2", "hun\x00ter2", "hun\ud800ter2"])
@pytest.mark.parametrize("called", [False, True])
async def test_a_bad_password(*, mocked_http: MockedHttp, value: str, called: bool) -> None:
    """A password that is empty, or kept its line break from a file, is refused before it can lock an account."""
    if called:
        error: AuthError = await failure(Peakly(username="ana", password=lambda: value))
    else:
        with pytest.raises(ConfigurationError) as caught:
            Peakly(username="ana", password=value)
        error = caught.value
    assert type(error) is ConfigurationError
    assert "password" in error.message
    keeps_quiet(error, MARK, "hun\\", "ter2")
    assert not mocked_http.sent


def fails_with(error: Exception) -> Callable[[], str]:
    def password() -> str:
        raise error

    return password


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        (KeyError(MARK), AuthError, "the password callable raised KeyError"),
        (ValueError(MARK), AuthError, "the password callable raised ValueError"),
        (RuntimeError(MARK), AuthError, "test_providers_wire_credential.py"),
        (FileNotFoundError(2, MARK), AuthError, "the password callable raised FileNotFoundError"),
        (TimeoutError(MARK), TokenEndpointUnavailable, "the password callable failed: no answer in time"),
        (
            ConnectionError(MARK),
            TokenEndpointUnavailable,
            "the password callable failed: the connection broke before the answer came (ConnectionError)",
        ),
    ],
)
async def test_a_callable_that_raises(
    mocked_http: MockedHttp, raised: Exception, kind: type[AuthError], words: str
) -> None:
    """Trouble on the way to the secret is transient, anything else a fault; told by class and place alone."""
    error = await failure(Peakly(username="ana", password=fails_with(raised)))
    assert type(error) is kind
    assert words in error.message
    assert (error.provider, error.step, error.endpoint) == ("peakly", "token", PEAKLY)
    keeps_quiet(error, MARK)
    assert not mocked_http.sent


async def test_a_callable_that_raises_an_error_of_ours() -> None:
    """An AuthError says itself what it is, and keeps its class and fields."""
    raised = CredentialsRejected("the vault is sealed", status=403, provider="vault")
    error = await failure(Peakly(username="ana", password=fails_with(raised)))
    assert type(error) is CredentialsRejected
    assert error is not raised
    assert (error.message, error.status, error.provider) == ("the vault is sealed", 403, "vault")
    keeps_quiet(error)


async def test_an_async_callable_that_is_cancelled() -> None:
    """Cancelling is not swallowed."""

    async def password() -> str:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await fetch(Peakly(username="ana", password=password))


async def test_a_callable_through_a_manager(mocked_http: MockedHttp) -> None:
    """The same holds for what a manager's callers get."""
    for raised, kind in ((KeyError(MARK), AuthError), (CredentialsRejected("sealed"), CredentialsRejected)):
        manager = TokenManager(Peakly(username="ana", password=fails_with(raised)), clock=FakeClock())
        with pytest.raises(AuthError) as caught:
            await manager.token()
        assert type(caught.value) is kind
        keeps_quiet(caught.value, MARK)
    assert not mocked_http.sent


@pytest.mark.parametrize("make", [pickle.dumps, copy.deepcopy])
def test_secrets_are_not_pickled(make: Any) -> None:
    """A provider's secret does not end in a pickle."""
    with pytest.raises(TypeError, match="cannot be pickled"):
        make(Peakly(username="ana", password=MARK))


# --- Chains


async def test_accepted_is_told(mocked_http: MockedHttp) -> None:
    """A source learns that what it lent was accepted."""
    source = Source([SECRET])
    mocked_http.answers(CREATE, GRANTED)
    await fetch(PagoFacil(jwt=source))
    assert source.told == [("accepted", SECRET, False)]


async def test_the_second_try(mocked_http: MockedHttp) -> None:
    """A refused token of a source is dropped there, obtained anew, and tried once more."""
    source = Source(["old", "new"])
    mocked_http.answers(CREATE, REFUSED, status=401)
    mocked_http.answers(CREATE, GRANTED)
    assert (await fetch(PagoFacil(jwt=source))).value == "new-access"
    assert sent_bearers(mocked_http) == ["old", "new"]
    assert source.told == [("refused", "old", False), ("accepted", "new", True)]


async def test_the_second_try_is_the_last(mocked_http: MockedHttp) -> None:
    """A replacement that is refused as well is an error, and the source learns that it was a repeat."""
    source = Source(["old", "new", "newest"])
    mocked_http.answers(CREATE, REFUSED, status=401, times=3)
    error = await failure(PagoFacil(jwt=source))
    assert type(error) is CredentialsRejected
    assert (error.step, error.status, error.upstream) == ("createToken", 401, False)
    assert error.credential is None  # a source has a memory of its own
    assert sent_bearers(mocked_http) == ["old", "new"]
    assert source.told == [("refused", "old", False), ("refused", "new", True)]
    keeps_quiet(error, "old-", "newest")


async def test_nothing_else_to_lend(mocked_http: MockedHttp) -> None:
    """A source that has only the refused token causes no second try."""
    source = Source([SECRET])
    mocked_http.answers(CREATE, REFUSED, status=401, times=2)
    assert type(await failure(PagoFacil(jwt=source))) is CredentialsRejected
    assert sent_bearers(mocked_http) == [SECRET]
    assert source.told == [("refused", SECRET, False)]


@pytest.mark.parametrize("credential", [SECRET, lambda: SECRET, FakeProvider(answers=[Token(SECRET)])])
async def test_no_second_try_without_a_source(mocked_http: MockedHttp, credential: Any) -> None:
    """A string or a callable is tried once: there is nobody to get another from."""
    mocked_http.answers(CREATE, REFUSED, status=401, times=2)
    assert type(await failure(PagoFacil(jwt=credential))) is CredentialsRejected
    assert len(mocked_http.sent) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_a_transient_failure_is_not_the_sources_fault(mocked_http: MockedHttp, status: int) -> None:
    """A server that can't answer now tells a source nothing."""
    source = Source([SECRET, "new"])
    mocked_http.answers(CREATE, {}, status=status)
    assert type(await failure(PagoFacil(jwt=source))) is TokenEndpointUnavailable
    assert source.told == []


async def test_an_unreadable_answer_accepts_the_credential(mocked_http: MockedHttp) -> None:
    """A 200 without a token says nothing against what was lent."""
    source = Source([SECRET, "new"])
    mocked_http.answers(CREATE, {"nothing": "here"})
    assert type(await failure(PagoFacil(jwt=source))) is InvalidTokenResponse
    assert source.told in ([], [("accepted", SECRET, False)])


async def test_the_second_try_meets_other_trouble(mocked_http: MockedHttp) -> None:
    """If the second try fails for another reason, that is the error."""
    source = Source(["old", "new"])
    mocked_http.answers(CREATE, REFUSED, status=401)
    mocked_http.answers(CREATE, {}, status=503)
    assert type(await failure(PagoFacil(jwt=source))) is TokenEndpointUnavailable
    assert source.told == [("refused", "old", False)]


@pytest.mark.parametrize("when", ["first", "second"])
async def test_an_upstreams_failure_is_marked(mocked_http: MockedHttp, when: str) -> None:
    """The error of a source keeps its own step and says that it is an upstream's, in either try."""
    trouble = TokenEndpointUnavailable("down", provider="pago-facil", step="login", endpoint="https://x", status=503)

    @attrs.define(repr=False)
    class Failing(Source):
        def invalidate(self, token: Token, *, repeat: bool = False) -> None:
            self.error = trouble

    source = Failing([SECRET], trouble if when == "first" else None)
    mocked_http.answers(CREATE, REFUSED, status=401)
    error = await failure(PagoFacil(jwt=source))
    assert type(error) is TokenEndpointUnavailable
    assert error.upstream
    assert (error.step, error.endpoint, error.status) == ("login", "https://x", 503)
    assert not trouble.upstream
    keeps_quiet(error, SECRET)
    assert len(mocked_http.sent) == (0 if when == "first" else 1)


async def test_a_manager_upstream_obtains_anew_once(mocked_http: MockedHttp) -> None:
    """With a manager upstream, a revoked token costs one login and one more try."""
    upstream = FakeProvider()
    mocked_http.answers(CREATE, REFUSED, status=401)
    mocked_http.answers(CREATE, GRANTED)
    clock = FakeClock(wall=NOW)
    async with TokenManager(upstream, clock=clock) as login:
        await login.token()
        async with TokenManager(PagoFacil(jwt=login), clock=clock) as manager:
            assert (await manager.token()).value == "new-access"
        assert login.current is not None  # passed in: it stays the caller's
        assert login.current.value == "token-2"
    assert upstream.calls == 2
    assert sent_bearers(mocked_http) == ["token-1", "token-2"]


async def test_an_endpoint_that_refuses_everything_costs_few_logins(mocked_http: MockedHttp) -> None:
    """Where every token is refused, the upstream's cool-down keeps logins rare, however often somebody asks."""
    upstream = FakeProvider()
    mocked_http.answers(CREATE, REFUSED, status=401, times=500)
    clock = FakeClock(wall=NOW)
    async with TokenManager(upstream, clock=clock) as login:
        manager = TokenManager(PagoFacil(jwt=login), clock=clock)
        for _ in range(50):
            with pytest.raises(CredentialsRejected):
                await manager.token()
        assert upstream.calls <= 3
        assert len(mocked_http.sent) <= 4
        for _ in range(20):
            await clock.advance(1)
            with pytest.raises(CredentialsRejected):
                await manager.token()
        assert upstream.calls <= 4


async def test_the_refused_credential_is_known_again() -> None:
    """A refusal carries a keyed digest of the credential, so that the same one is not sent again meanwhile."""
    first = await _refusal("a.b.c")
    again = await _refusal("a.b.c")
    other = await _refusal("d.e.f")
    assert first.credential is not None
    assert first.credential == again.credential
    assert first.credential != other.credential
    assert "a.b.c" not in first.credential
    assert not first.may_change


async def _refusal(jwt: str) -> CredentialsRejected:
    with mock_aiohttp() as mock:
        http = MockedHttp(mock)
        http.answers(CREATE, REFUSED, status=401)
        error = await failure(PagoFacil(jwt=jwt))
    assert isinstance(error, CredentialsRejected)
    return error


async def test_a_remembered_refusal_is_not_sent_again(mocked_http: MockedHttp) -> None:
    """While a refusal is remembered, the same credential costs no request; a changed one is tried."""
    value = "a.b.c"
    provider = PagoFacil(jwt=lambda: value)
    mocked_http.answers(CREATE, REFUSED, status=401)
    refusal = await failure(provider)
    assert isinstance(refusal, CredentialsRejected)
    assert refusal.may_change

    async def once_more() -> Token:
        import aiohttp

        set_try(TryState(FakeClock(wall=NOW), credential_rejected=refusal))
        async with aiohttp.ClientSession() as http:
            return await provider.fetch(http, None)

    with pytest.raises(CredentialsRejected) as caught:
        await once_more()
    assert caught.value.unsent
    assert len(mocked_http.sent) == 1
    value = "d.e.f"
    mocked_http.answers(CREATE, GRANTED)
    assert (await once_more()).value == "new-access"


# --- Who owns what


async def test_managers_of_a_chain_are_its_own() -> None:
    """A provider in place of a credential gets a manager that is closed with its user's; two users share none."""
    provider = PagoFacilJWT.from_password(username="ana", password=MARK)
    one, two = TokenManager(provider), TokenManager(provider)
    assert engine_of(one).upstreams
    assert engine_of(two).upstreams
    assert not set(map(id, engine_of(one).upstreams)) & set(map(id, engine_of(two).upstreams))
    async with one:
        pass
    with pytest.raises(AuthError):
        await engine_of(one).upstreams[0].token()


async def test_a_password_from_a_manager_stays_the_callers() -> None:
    """A manager given as a credential deep in a chain is used, and not closed."""
    vault = TokenManager(FakeProvider())
    async with vault:
        provider = PagoFacilJWT.from_password(username="ana", password=vault)
        async with TokenManager(provider):
            pass
        assert (await vault.token()).value == "token-1"
