"""How BearerAuth chooses among managers by a request's origin: no sockets."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import pytest
from harness.canary import MARK
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from asyncauth import BearerAuth, ConfigurationError, InsecureTransport, Peakly, TokenManager
from asyncauth.testing import FakeProvider

if TYPE_CHECKING:
    from aiohttp import ClientRequest, ClientResponse


def manager(*origins: str) -> TokenManager:
    return TokenManager(FakeProvider(origins=origins))


@pytest.mark.parametrize(
    ("managers", "error", "words"),
    [
        ((), ConfigurationError, "at least one"),
        ((manager(),), ConfigurationError, "no origins"),
        ((manager("https://a.example"), manager("https://a.example")), ConfigurationError, "two managers for"),
        ((manager("https://a.example"), manager("wss://A.example:443")), ConfigurationError, "two managers for"),
        ((manager("https://a.example"), manager("https://b.example", "https://a.example")), ConfigurationError, "two"),
        ((manager("http://a.example"),), InsecureTransport, "plain http"),
        ((Peakly(username="a", password=MARK),), ConfigurationError, "TokenManager(…)"),
        ((None,), ConfigurationError, "not NoneType"),
    ],
)
def test_what_cant_work_is_refused_when_it_is_built(
    managers: tuple[Any, ...], error: type[Exception], words: str
) -> None:
    """A BearerAuth that could not do its work is never made."""
    with pytest.raises(error) as caught:
        BearerAuth(*managers)
    assert words in str(caught.value)
    assert MARK not in str(caught.value)


def test_one_manager_given_twice() -> None:
    """The same manager twice is two for one origin as well."""
    one = manager("https://a.example")
    with pytest.raises(ConfigurationError):
        BearerAuth(one, one)


class Request:
    """As much of an aiohttp request as the middleware looks at."""

    def __init__(self, url: str | URL, proxy: str | None = None, **headers: str) -> None:
        self.url = URL(url)
        self.proxy = None if proxy is None else URL(proxy)
        self.headers: CIMultiDict[str] = CIMultiDict(headers)
        self.body = b""


class Answer:
    def __init__(self, status: int = 200) -> None:
        self.status = status

    headers: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())


async def authorization(auth: BearerAuth, url: str | URL, *, status: int = 200, **headers: Any) -> str | None:
    """Return the Authorization that a request would go out with."""
    sent: list[str | None] = []

    async def handler(request: ClientRequest) -> ClientResponse:
        sent.append(request.headers.get("Authorization"))
        return cast("ClientResponse", Answer(status))

    await auth(cast("ClientRequest", Request(url, **headers)), handler)
    (value,) = sent
    return value


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("https://a.example/x", "token-1"),
        ("https://a.example:443/x", "token-1"),
        ("https://A.EXAMPLE/x", "token-1"),
        ("wss://a.example/x", "token-1"),
        ("wss://a.example:443/x", "token-1"),
        ("https://user:pw@a.example/x", "token-1"),
        ("https://a.example./x", "token-1"),
        ("https://a.example.:443/x", "token-1"),
        ("http://localhost:8080/x", "token-1"),
        ("ws://localhost:8080/x", "token-1"),
        ("http://127.0.0.1/x", "token-1"),
        ("http://127.0.0.1:80/x", "token-1"),
        ("https://a.example:8443/x", None),
        ("https://b.example/x", None),
        ("https://a.example.evil.example/x", None),
        ("https://evil.example/a.example", None),
        ("https://a.example@evil.example/x", None),
        ("http://b.example/x", None),
        ("http://localhost:8081/x", None),
        ("https://localhost:8080/x", None),
        ("http://127.0.0.2/x", None),
        ("wss://localhost:8080/x", None),
        ("ws://localhost/x", None),
    ],
)
async def test_who_gets_the_token(url: str, token: str | None) -> None:
    """The token goes to the manager's origins, however a URL writes them, and nowhere else."""
    auth = BearerAuth(manager("https://a.example", "http://localhost:8080", "http://127.0.0.1"))
    assert await authorization(auth, url) == (None if token is None else f"Bearer {token}")


async def test_a_request_without_a_token_is_explained_once(caplog: pytest.LogCaptureFixture) -> None:
    """A 401 from an origin that no manager serves names the origins that are: ``localhost`` is not ``127.0.0.1``."""
    caplog.set_level(logging.INFO, "asyncauth.manager")
    auth = BearerAuth(manager("http://127.0.0.1:8910", "https://explained.example"))
    for _ in range(2):
        for status in (200, 401):
            await authorization(auth, "http://user:pw@localhost:8910/x?q=s", status=status)
    passed, denied = caplog.records
    assert (passed.levelname, denied.levelname) == ("INFO", "WARNING")
    assert passed.getMessage() == (
        "requests to http://localhost:8910 carry no token: no manager serves that origin,"
        " only http://127.0.0.1:8910, https://explained.example"
    )
    assert denied.getMessage().startswith(
        "http://localhost:8910 answered 401 to a request without a token: no manager serves that origin,"
        " only http://127.0.0.1:8910, https://explained.example."
    )


@pytest.mark.parametrize(("status", "level"), [(401, "WARNING"), (403, "WARNING"), (402, "INFO"), (404, "INFO")])
async def test_a_denial_is_a_warning(caplog: pytest.LogCaptureFixture, status: int, level: str) -> None:
    """So do APIs answer a request without a token; any other status may have any other reason."""
    caplog.set_level(logging.INFO, "asyncauth.manager")
    await authorization(BearerAuth(manager("https://a.example")), f"https://denial-{status}.example", status=status)
    assert [record.levelname for record in caplog.records] == [level]


async def test_a_request_that_the_caller_authorizes_needs_no_explanation(caplog: pytest.LogCaptureFixture) -> None:
    """Nor does one to an origin that is served."""
    caplog.set_level(logging.INFO, "asyncauth.manager")
    auth = BearerAuth(manager("https://a.example"))
    await authorization(auth, "https://authorized.example/x", status=401, Authorization="Basic eDp5")
    await authorization(auth, "https://a.example/x")
    assert caplog.records == []


@pytest.mark.parametrize("url", ["https://A.Example/x", "wss://A.EXAMPLE/x", "http://LOCALHOST:8080/x"])
async def test_a_url_that_was_left_as_it_came(url: str) -> None:
    """A host that nobody has made normal (``encoded=True``, a redirect that is not quoted anew) is the same host."""
    auth = BearerAuth(manager("https://a.example", "http://localhost:8080"))
    assert await authorization(auth, URL(url, encoded=True)) == "Bearer token-1"
    with pytest.raises(InsecureTransport):
        await authorization(auth, URL("http://A.Example/x", encoded=True))


@pytest.mark.parametrize(
    ("url", "proxy", "token"),
    [
        ("http://localhost:8080/x", "http://proxy.example:3128", "refused"),
        ("ws://localhost:8080/x", "https://proxy.example", "refused"),
        ("http://localhost:8080/x", "http://127.0.0.1:3128", "Bearer token-1"),
        ("https://a.example/x", "http://proxy.example:3128", "Bearer token-1"),
        ("http://b.example/x", "http://proxy.example:3128", None),
    ],
)
async def test_plain_http_through_a_proxy(url: str, proxy: str, token: str | None) -> None:
    """What is meant for this machine goes to no other one in the clear; through TLS a proxy reads nothing."""
    auth = BearerAuth(manager("https://a.example", "http://localhost:8080"))
    if token != "refused":
        assert await authorization(auth, url, proxy=proxy) == token
        return
    with pytest.raises(InsecureTransport, match=r"proxy\.example"):
        await authorization(auth, url, proxy=proxy)


async def test_the_manager_is_chosen_by_origin() -> None:
    """Each request carries the token of its own system."""
    one, two = FakeProvider(origins=["https://a.example"]), FakeProvider(origins=["https://b.example"])
    two.answers = [two.token(), two.token()]
    two.answers.pop(0)
    auth = BearerAuth(TokenManager(one), TokenManager(two))
    assert await authorization(auth, "https://a.example/") == "Bearer token-1"
    assert await authorization(auth, "https://b.example/") == "Bearer token-2"
    assert (one.calls, two.calls) == (1, 1)


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
@pytest.mark.parametrize("value", ["Basic eDp5", "Bearer mine", ""])
async def test_the_callers_own_header_is_never_overridden(name: str, value: str) -> None:
    """An Authorization that the caller set stays, and costs no token."""
    provider = FakeProvider(origins=["https://a.example"])
    auth = BearerAuth(TokenManager(provider))
    headers: dict[str, Any] = {name: value}
    assert await authorization(auth, "https://a.example/", **headers) == value
    assert provider.calls == 0


@pytest.mark.parametrize(
    "url",
    ["http://a.example/x", "http://a.example:80/x", "http://a.example./x", "ws://a.example/x", "ws://a.example:80"],
)
async def test_plain_http_to_a_host_of_https(url: str) -> None:
    """The plain twin of an https origin is refused: a forgotten ``s`` shows, and nothing is sent."""
    auth = BearerAuth(manager("https://a.example"))
    with pytest.raises(InsecureTransport, match=r"a\.example"):
        await authorization(auth, url)


async def test_plain_http_elsewhere_is_not_our_business() -> None:
    """Other hosts pass untouched, loopback twins too."""
    auth = BearerAuth(manager("https://a.example", "https://localhost"))
    assert await authorization(auth, "http://b.example/") is None
    assert await authorization(auth, "http://localhost/") is None
    assert await authorization(auth, "http://a.example:8080/") is None
