"""Every error's text: what happened, where, what the server said, what to do; in this order, with nothing missing."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import attrs
import pytest
from errors_kit import ACCEPTS
from harness.canary import MARK
from oauth2_kit import URL
from provider_kit import MockedHttp, failure, keeps_quiet
from store_client_kit import CommandedStore

from asyncauth import (
    AuthError,
    BearerAuth,
    ClientCredentials,
    ConfigurationError,
    CredentialsRejected,
    DeclaredProvider,
    DeviceCode,
    InsecureTransport,
    InvalidTokenResponse,
    JWTBearer,
    ManagerClosed,
    ManagerPool,
    PagoFacilJWT,
    Peakly,
    RefreshPolicy,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth.errors import LockTimeout, StoreError
from asyncauth.stores import EncryptedStore, FileStore, MemoryStore, RedisStore
from asyncauth.testing import FakeClock, FakeProvider

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ADDRESS = "https://api.peakly.co/token"
ISSUER = "https://login.example.com"
KEY: Any = aiohttp.client_reqrep.ConnectionKey("api.peakly.co", 443, True, True, None, None, None)

SOMEBODY = frozenset({"provider"})
PLACE = SOMEBODY | {"step", "endpoint"}
ANSWER = PLACE | {"status"}
SAID = ANSWER | {"error_description"}
CODE = ANSWER | {"error"}


def parts_of(error: AuthError) -> dict[str, str]:
    """Return the parts of an error that its text must have, in the order in which they must stand."""
    parts = {
        "message": error.message,
        "provider": error.provider,
        "step": error.step,
        "endpoint": error.endpoint,
        "status": None if error.status is None else f"status {error.status}",
        "error": error.error,
        "error_description": error.error_description,
        "advice": error.advice,
    }
    return {name: part for name, part in parts.items() if part}


def check(error: AuthError, kind: type[AuthError], what: str, known: frozenset[str]) -> None:
    """Check an error's class, the beginning of its text, the parts that it has, and their order."""
    text, parts = str(error), parts_of(error)
    assert type(error) is kind, text
    assert text.startswith(what)
    assert parts.keys() == {"message", "advice", *known}, text
    place = 0
    for part in parts.values():
        place = text.index(part, place) + len(part)
    assert place == len(text), f"something follows what to do: {text}"
    assert ("; the server says " in text) == bool({"error", "error_description"} & known)
    assert text.isprintable()
    keeps_quiet(error, MARK)


def peakly() -> Peakly:
    return Peakly(username="ana", password=f"open-{MARK}")


def client(**options: Any) -> ClientCredentials:
    return ClientCredentials(**{"token_url": URL, "client_id": "app", "client_secret": f"cs-{MARK}"} | options)


def untrusted() -> aiohttp.ClientConnectorCertificateError:
    error = ssl.SSLCertVerificationError(1, MARK)
    error.verify_code, error.verify_message = 10, "has expired"
    return aiohttp.ClientConnectorCertificateError(KEY, error)


def handshake() -> aiohttp.ClientConnectorSSLError:
    error = ssl.SSLError(1, MARK)
    error.reason = "WRONG_VERSION_NUMBER"
    return aiohttp.ClientConnectorSSLError(KEY, error)


NO = {"error_description": "Nope."}

# --- What a token endpoint answers, or does not answer


@pytest.mark.parametrize(
    ("answer", "kind", "what", "known"),
    [
        # rejected
        ({"fields": NO, "status": 400}, CredentialsRejected, "the server rejected the password [", SAID),
        ({"status": 401, "body": b""}, CredentialsRejected, "the server rejected the password [", ANSWER),
        (
            {"fields": NO | {"error": "invalid_grant"}, "status": 400},
            CredentialsRejected,
            "the server rejected the password [",
            SAID | CODE,
        ),
        (
            {"fields": {"error": "invalid_scope"}, "status": 400},
            CredentialsRejected,
            "the server rejected the request, not the password [",
            CODE,
        ),
        # cannot answer now
        (
            {"fields": NO, "status": 503, "headers": {"Retry-After": "9"}},
            TokenEndpointUnavailable,
            "the server can't answer now [",
            SAID,
        ),
        ({"fields": {}, "status": 429}, TokenEndpointUnavailable, "the server can't answer now [", ANSWER),
        ({"body": b"<html>", "status": 502}, TokenEndpointUnavailable, "the server can't answer now [", ANSWER),
        # no answer
        ({"exception": TimeoutError()}, TokenEndpointUnavailable, "no answer in time [", PLACE),
        (
            {"exception": aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "unknown"))},
            TokenEndpointUnavailable,
            "api.peakly.co has no address (unknown) [",
            PLACE,
        ),
        (
            {"exception": aiohttp.ClientConnectorError(KEY, OSError(errno.ECONNREFUSED, MARK))},
            TokenEndpointUnavailable,
            "no connection to api.peakly.co:443 could be made (",
            PLACE,
        ),
        (
            {"exception": aiohttp.ClientProxyConnectionError(KEY, OSError(errno.ECONNREFUSED, MARK))},
            TokenEndpointUnavailable,
            "no connection to the proxy api.peakly.co:443 could be made (",
            PLACE,
        ),
        (
            {"exception": untrusted()},
            TokenEndpointUnavailable,
            "the TLS certificate of api.peakly.co has expired [",
            PLACE,
        ),
        (
            {"exception": handshake()},
            TokenEndpointUnavailable,
            "api.peakly.co:443 makes no TLS handshake (WRONG_VERSION_NUMBER) [",
            PLACE,
        ),
        (
            {"exception": aiohttp.ServerDisconnectedError()},
            TokenEndpointUnavailable,
            "the server closed the connection before it answered [",
            PLACE,
        ),
        (
            {"exception": aiohttp.ClientOSError(errno.ECONNRESET, MARK)},
            TokenEndpointUnavailable,
            "the connection broke before the answer came (",
            PLACE,
        ),
        ({"exception": aiohttp.ClientPayloadError(MARK)}, TokenEndpointUnavailable, "the answer broke off [", PLACE),
        (
            {"exception": aiohttp.ClientError(MARK)},
            TokenEndpointUnavailable,
            "no answer was received (ClientError",
            PLACE,
        ),
        # an answer that cannot be used
        (
            {"status": 403, "body": b"<html><h1>Blocked</h1>", "headers": {"Content-Type": "text/html"}},
            InvalidTokenResponse,
            "an HTML page or nothing came in place of a token endpoint's answer; the credential was not rejected [",
            ANSWER,
        ),
        ({"status": 404, "body": b"[]"}, InvalidTokenResponse, "the answer is not a token endpoint's [", ANSWER),
        ({"status": 307}, InvalidTokenResponse, "the server redirects, which a token request never follows [", ANSWER),
        ({"body": b"{"}, InvalidTokenResponse, "the answer is not a JSON object [", ANSWER),
        (
            {"fields": NO | {"error": "odd"}},
            InvalidTokenResponse,
            "the answer is an error, and brings no token [",
            SAID | CODE,
        ),
        ({"fields": {}}, InvalidTokenResponse, "the answer has no 'access_token' [", PLACE),
        ({"fields": {"access_token": 7}}, InvalidTokenResponse, "'access_token' is not a token [", PLACE),
        (
            {"fields": {"access_token": "a b"}},
            InvalidTokenResponse,
            "'access_token' holds characters that can't travel in a header [",
            PLACE,
        ),
        (
            {"fields": {"access_token": "at-1", "expires_in": 0}},
            InvalidTokenResponse,
            "expires_in is 0: the token was expired on arrival [",
            PLACE,
        ),
        (
            {"fields": {"access_token": "at-1", "expires_in": "soon"}},
            InvalidTokenResponse,
            'expires_in can\'t be read: "soon" is not ',
            PLACE,
        ),
        (
            {"fields": {"access_token": "at-1", "expires_in": 1_700_000_000}},
            InvalidTokenResponse,
            "expires_in is 1700000000: that looks like a Unix time, not like a lifetime [",
            PLACE,
        ),
        ({"body": b" " * 1_048_577}, InvalidTokenResponse, "the answer is larger than 1 MiB [", ANSWER),
        (
            {"body": b"plain", "headers": {"Content-Encoding": "gzip"}},
            TokenEndpointUnavailable,
            "the answer was damaged on its way: it can't be decompressed [",
            ANSWER,
        ),
    ],
)
async def test_a_token_request_that_fails(
    mocked_http: MockedHttp, answer: dict[str, Any], kind: type[AuthError], what: str, known: frozenset[str]
) -> None:
    """Whatever comes of a token request, its error has all parts in order, and no part that is not known."""
    mocked_http.answers(ADDRESS, **answer)
    check(await failure(peakly()), kind, what, known)


@pytest.mark.parametrize(
    ("provider", "answers", "kind", "what", "known"),
    [
        (
            client,
            [(URL, {"fields": {"error": "invalid_client"}, "status": 401})],
            CredentialsRejected,
            "the server rejected the client_secret [",
            CODE,
        ),
        (
            client,
            [(URL, {"fields": {"access_token": "at-1", "token_type": "mac"}})],
            InvalidTokenResponse,
            "token_type is mac, which is not sent as Bearer [",
            PLACE,
        ),
        (
            client,
            [(URL, {"fields": {"access_token": "at-1", "token_type": "DPoP"}})],
            InvalidTokenResponse,
            "the token is bound to a key (token_type DPoP) [",
            PLACE,
        ),
        (
            lambda: client(client_secret=dict[str, str]().popitem),
            [],
            AuthError,
            "the client_secret callable raised KeyError (",
            PLACE,
        ),
        (
            lambda: client(client_secret=lambda: cast("str", 7)),
            [],
            ConfigurationError,
            "the value that the client_secret callable returned is int, not str [",
            PLACE,
        ),
        (
            lambda: PagoFacilJWT(access_token=f"jwt-{MARK}"),
            [("https://api.pgf.cl/loginToken", {"fields": {}})],
            InvalidTokenResponse,
            "the answer has no 'access_token_jwt' [",
            PLACE,
        ),
        (
            lambda: DeclaredProvider(name="acme", url=URL, credential={"key": f"k-{MARK}"}, sent_as="form"),
            [(URL, {"fields": NO, "status": 401})],
            CredentialsRejected,
            "the server rejected the key [",
            SAID,
        ),
    ],
)
async def test_other_providers(
    mocked_http: MockedHttp,
    *,
    provider: Callable[[], Any],
    answers: list[tuple[str, dict[str, Any]]],
    kind: type[AuthError],
    what: str,
    known: frozenset[str],
) -> None:
    """A grant, a declared provider and a credential's callable fail in the same form."""
    for url, answer in answers:
        mocked_http.answers(url, **answer)
    check(await failure(provider()), kind, what, known)


async def test_discovery_that_finds_nothing(mocked_http: MockedHttp) -> None:
    """The step is the discovery, and the endpoint is the last place that was asked."""
    mocked_http.mock.get(re.compile(rf"^{ISSUER}/\.well-known/"), status=404, repeat=True)
    error = await failure(client(token_url=None, issuer=ISSUER))
    check(error, InvalidTokenResponse, "the issuer has no metadata [", ANSWER)
    assert error.step == "discovery"


async def test_a_device_code_that_nobody_approves(mocked_http: MockedHttp) -> None:
    """It is told as a rejection, with what to do."""
    device = DeviceCode(token_url=URL, device_authorization_url=f"{URL}/device", client_id="cli", show=lambda _: None)
    started = {"device_code": f"dc-{MARK}", "user_code": "A", "verification_uri": "https://example.com", "interval": 5}
    mocked_http.answers(f"{URL}/device", started | {"expires_in": 1})
    mocked_http.answers(URL, {"error": "authorization_pending"}, status=400, times=3)
    clock = FakeClock()
    asked = asyncio.ensure_future(failure(device, clock=clock))
    await clock.advance(10)
    check(await asked, CredentialsRejected, "nobody approved in time [", PLACE | {"error"})


# --- What a manager, a pool or a store says


@attrs.frozen
class Bench:
    """A clock, and what is waited for on it."""

    clock: FakeClock = attrs.field(factory=FakeClock)

    def manager(self, provider: Any = None, **options: Any) -> TokenManager:
        return TokenManager(provider or FakeProvider(clock=self.clock), clock=self.clock, **options)

    async def fails(self, wanted: Awaitable[object], seconds: float = 40.0) -> AuthError:
        """Return the error of what is wanted, after as many seconds at most."""
        asked = asyncio.ensure_future(wanted)
        await self.clock.advance(seconds)
        with pytest.raises(AuthError) as caught:
            await asked
        return caught.value


async def no_answer(bench: Bench) -> AuthError:
    return await bench.fails(bench.manager(FakeProvider(clock=bench.clock, latency=1e6)).token())


async def own_provider_raises(bench: Bench) -> AuthError:
    return await bench.fails(bench.manager(FakeProvider(answers=KeyError(MARK))).token())


async def own_provider_has_no_network(bench: Bench) -> AuthError:
    return await bench.fails(bench.manager(FakeProvider(answers=ConnectionError(MARK))).token())


async def own_provider_returns_a_str(bench: Bench) -> AuthError:
    return await bench.fails(bench.manager(FakeProvider(answers=lambda: cast("Token", "t"))).token())


async def own_token_has_a_line_break(bench: Bench) -> AuthError:
    return await bench.fails(bench.manager(FakeProvider(answers=Token("a\nb"))).token())


async def own_token_has_expired(bench: Bench) -> AuthError:
    return await bench.fails(bench.manager(FakeProvider(answers=Token("t", expires_at=9.0, issued_at=9.0))).token())


async def waits_for_itself(bench: Bench) -> AuthError:
    async def ask() -> Token:
        return await manager.token()

    manager = bench.manager(FakeProvider(clock=bench.clock, answers=ask))
    return await bench.fails(manager.token())


async def closed(bench: Bench) -> AuthError:
    manager = bench.manager()
    await manager.close()
    return await bench.fails(manager.token())


async def closed_pool(bench: Bench) -> AuthError:
    pool: ManagerPool[Any] = ManagerPool(lambda _: FakeProvider(), clock=bench.clock)
    await pool.close()
    return await bench.fails(pool.get("a"))


async def too_many_wait(bench: Bench) -> AuthError:
    pool: ManagerPool[Any] = ManagerPool(
        lambda _: FakeProvider(clock=bench.clock, latency=1e6), limit=1, clock=bench.clock
    )

    async def token_of(number: int) -> Token:
        return await (await pool.get(number)).token()

    waiting = [asyncio.ensure_future(token_of(number)) for number in range(9)]
    await bench.clock.advance(31)
    await bench.clock.advance(31)
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    await pool.close()
    return next(each for each in errors if isinstance(each, AuthError) and "was not sent" in each.message)


async def store_is_down(bench: Bench) -> AuthError:
    store = CommandedStore(faults={"load": "raise"}, strict=True)
    return await bench.fails(bench.manager(store=store).token())


async def store_is_locked(bench: Bench) -> AuthError:
    manager = bench.manager(store=CommandedStore(strict=True, locked=True))
    return await bench.fails(manager.token(), 60)


@pytest.mark.parametrize(
    ("situation", "kind", "what", "known"),
    [
        (no_answer, TokenEndpointUnavailable, "no answer in time [fake]", SOMEBODY),
        (own_provider_raises, AuthError, "the token request raised KeyError (", SOMEBODY),
        (
            own_provider_has_no_network,
            TokenEndpointUnavailable,
            "the token request failed: the connection broke",
            SOMEBODY,
        ),
        (own_provider_returns_a_str, ConfigurationError, "fetch() must return a Token, not str [", SOMEBODY),
        (own_token_has_a_line_break, InvalidTokenResponse, "the access token is empty, or holds ", SOMEBODY),
        (own_token_has_expired, InvalidTokenResponse, "the token was expired on arrival [", SOMEBODY),
        (waits_for_itself, ConfigurationError, "this waits for itself", SOMEBODY),
        (closed, ManagerClosed, "the manager was closed [fake]: use it inside", SOMEBODY),
        (closed_pool, ManagerClosed, "the pool was closed: use it inside", frozenset[str]()),
        (too_many_wait, TokenEndpointUnavailable, "no request before this one in the queue was answered ", SOMEBODY),
        (store_is_down, StoreError, "the token store fails: load: ", SOMEBODY),
        (store_is_locked, LockTimeout, "the token store fails: another process held the lock for ", SOMEBODY),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
async def test_a_manager_that_has_no_token(
    situation: Callable[[Bench], Awaitable[AuthError]], kind: type[AuthError], what: str, known: frozenset[str]
) -> None:
    """Closed, late, a queue that does not move, a store that fails, a provider of the user's own: the same form."""
    check(await situation(Bench()), kind, what, known)


# --- Arguments


def no_folder(tmp_path: Any) -> FileStore:
    (tmp_path / "file").write_text("")
    return FileStore(tmp_path / "file")


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda _: TokenManager(cast("Any", 7)), "TokenManager takes a provider, such as Peakly(…), not int"),
        (lambda _: TokenManager(cast("Any", Peakly)), "TokenManager takes a provider, not its class: write Peakly(…)"),
        (lambda _: TokenManager(cast("Any", type("Source", (), {"fetch": 7})())), "Source has no name and no origins"),
        (lambda _: TokenManager(FakeProvider(), http=cast("Any", 7)), "http= takes an aiohttp.ClientSession or"),
        (lambda _: TokenManager(FakeProvider(), store=cast("Any", "redis://")), "store= takes a TokenStore, such as"),
        (lambda _: TokenManager(FakeProvider(identity=None), store=MemoryStore()), "a token of FakeProvider can't be"),
        (lambda _: RefreshPolicy(renew_at=2), "RefreshPolicy(renew_at=2) must be from "),
        (lambda _: Peakly(username="", password="p"), "username takes a str that is not empty, not empty: is an"),
        (lambda _: Peakly(username="a", password=cast("str", None)), "password takes a str, a callable that returns"),
        (lambda _: Peakly(username="a", password=""), "password is empty: look at where it comes from"),
        (lambda _: Peakly(username="a", password="p", environment=cast("Any", "x")), "there is no environment 'x': w"),
        (lambda _: Peakly(username="a", password="p", base_url="nowhere"), "base_url must be absolute, such as "),
        (lambda _: client(client_secret=None), "client_auth='client_secret_basic' needs client_secret=: is an"),
        (lambda _: client(token_url=None), "the address of the token endpoint is missing: give token_url=, or issuer="),
        (lambda _: JWTBearer(token_url=URL), "JWTBearer has no assertion to send: give assertion=, or private_key="),
        (lambda _: BearerAuth(), "BearerAuth takes at least one TokenManager"),
        (lambda _: BearerAuth(cast("Any", FakeProvider())), "this takes TokenManagers, not FakeProvider: write "),
        (lambda _: EncryptedStore(MemoryStore(), ["short"]), "EncryptedStore: key 1 is not a Fernet key: make one"),
        (lambda _: RedisStore("http://example.com"), "RedisStore takes a URL such as 'redis://localhost:6379/0', or"),
        (lambda _: RedisStore("redis://localhost:port"), "RedisStore can't use this URL: is its port a number"),
        (no_folder, "FileStore takes a folder, and "),
    ],
)
def test_an_argument_that_is_wrong(make: Callable[[Any], object], what: str, tmp_path: Any) -> None:
    """The text names the argument, and says what to write or what it takes."""
    with pytest.raises(ConfigurationError) as caught:
        make(tmp_path)
    error = caught.value
    assert str(error).startswith(what)
    assert str(error) == ": ".join(parts_of(error).values())
    assert error.advice or ACCEPTS.search(error.message)
    keeps_quiet(error, MARK)


@pytest.mark.parametrize("address", ["base_url", "origins"])
def test_plain_http(address: str) -> None:
    """Nothing was sent; the text names the argument and the host."""
    options: Any = {"username": "a", "password": "p", address: "http://peakly.example"}
    with pytest.raises(InsecureTransport) as caught:
        Peakly(**options)
    what = f"{address} is plain http to peakly.example, so a token or password would be sent unencrypted: use https"
    check(caught.value, InsecureTransport, what, frozenset())
