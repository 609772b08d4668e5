"""Where a token may go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from harness.canary import MARK
from yarl import URL

from asyncauth import (
    BearerAuth,
    ClientCredentials,
    ConfigurationError,
    DeclaredProvider,
    DeviceCode,
    InsecureTransport,
    JWTBearer,
    PagoFacil,
    PagoFacilJWT,
    PagoFacilLogin,
    PasswordGrant,
    Peakly,
    RefreshGrant,
    TokenExchange,
    TokenManager,
)
from asyncauth._http.origin import (
    absolute_url,
    check_proxy,
    insecure_hosts_of,
    is_loopback,
    is_served,
    origin_of,
    origins_of,
    require_secure,
)
from asyncauth.testing import FakeProvider


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.8.9.1", "127.255.0.9", "::1", "0:0:0:0:0:0:0:1"]
)
def test_this_machine(host: str) -> None:
    """Loopback is localhost, 127.0.0.0/8 and ::1."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "0.0.0.0",  # noqa: S104
        "localhost.example.com",
        "127.0.0.1.example.com",
        "128.0.0.1",
        "10.0.0.1",
        "0.0.0.1",
        "my.localhost",
        "notlocalhost",
        "localhost.evil.example",
        "::",
    ],
)
def test_not_this_machine(host: str | None) -> None:
    """Nothing that merely looks like loopback is."""
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://API.example.com/a?b#c", "https://api.example.com"),
        ("https://API.Example.com:443/", "https://api.example.com"),
        ("https://api.example.com:443", "https://api.example.com"),
        ("https://api.example.com:8443/x", "https://api.example.com:8443"),
        ("http://127.0.0.1:80/", "http://127.0.0.1"),
        ("wss://api.example.com/socket", "https://api.example.com"),
        ("ws://localhost:9/socket", "http://localhost:9"),
        ("ws://localhost:80/a", "http://localhost"),
        ("https://[::1]:443/", "https://[::1]"),
        ("https://user:pw@api.example.com/", "https://api.example.com"),
        ("https://münchen.example/", "https://xn--mnchen-3ya.example"),
    ],
)
def test_origin_is_scheme_host_and_port(url: str, origin: str) -> None:
    """An origin is normal: case, default port, WebSocket schemes, user and path make no difference."""
    assert str(origin_of(URL(url))) == origin


@pytest.mark.parametrize(
    "url",
    [
        *("", "/token", "//api.example.com", "api.example.com", "api.example.com:443", "https://", "https:///api"),
        *("ftp://a.example", "file:///etc/passwd", "javascript:alert(1)", "mailto:me"),
        *("https://api.example.com:99999999", "https://[::1"),
        *(None, 5, b"x"),
    ],
)
def test_url_must_be_absolute(url: Any) -> None:
    """A value that is not an absolute http or https URL is refused, in an error that names the argument."""
    with pytest.raises(ConfigurationError, match="base_url"):
        absolute_url(url, "base_url")


@pytest.mark.parametrize(
    "url",
    [
        f"https://{MARK}@a.example",
        f"https://u:{MARK}@a.example",
        f"https://u:{MARK}@a.example:port",
        f"https://a.example?k={MARK}",
        f"https://a.example#{MARK}",
    ],
)
def test_url_holds_no_secret_place(url: str) -> None:
    """A user, password, query or fragment is refused, and not shown."""
    with pytest.raises(ConfigurationError) as caught:
        absolute_url(url, "base_url")
    assert MARK not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "url", ["https://a.example", "wss://a.example", "http://localhost:1", "ws://127.0.0.1", "http://[::1]:9"]
)
def test_safe_transport(url: str) -> None:
    """TLS, or this machine."""
    require_secure(URL(url), "x")


@pytest.mark.parametrize(
    "url",
    ["http://a.example", "ws://a.example", "ws://10.0.0.1:8080", "http://10.0.0.1", "http://localhost.evil.example"],
)
def test_unsafe_transport(url: str) -> None:
    """Plain http to another machine is refused before anything is sent."""
    with pytest.raises(InsecureTransport, match="use https"):
        require_secure(URL(url), "x")


def test_origins_are_normal_and_each_once() -> None:
    """One origin or several; duplicates count once, order is kept."""
    assert origins_of("https://a.example/") == ("https://a.example",)
    assert origins_of(URL("https://a.example:443")) == ("https://a.example",)  # type: ignore[arg-type]
    assert origins_of(["https://b.example", "https://A.example", "wss://b.example"]) == (
        "https://b.example",
        "https://a.example",
    )
    assert origins_of(()) == ()


@pytest.mark.parametrize(
    ("origins", "kind"),
    [
        ("https://a.example/path", ConfigurationError),
        (["https://a.example", "nowhere"], ConfigurationError),
        (["https://user@a.example"], ConfigurationError),
        (["https://a.example/?q=secret"], ConfigurationError),
        (["https://a.example/#secret"], ConfigurationError),
        ([None], ConfigurationError),
        ("http://a.example", InsecureTransport),
        (["ws://10.0.0.1:8080"], InsecureTransport),
    ],
)
def test_bad_origins_are_refused(origins: Any, kind: type[Exception]) -> None:
    """An origin with a path, none at all, or one that is not safe."""
    with pytest.raises(kind) as caught:
        origins_of(origins)
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_url_may_be_a_yarl_url() -> None:
    """A URL object is as good as text."""
    assert absolute_url(URL("https://a.example/x"), "base_url") == URL("https://a.example/x")
    assert Peakly(username="a", password="b", base_url=URL("https://a.example")).origins == ("https://a.example",)


# --- Hosts to which plain http may go


@pytest.fixture(autouse=True)
def unwarned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test have warned of a host before."""
    monkeypatch.setattr("asyncauth._http.origin._warned", set())


@pytest.mark.parametrize(
    ("given", "hosts"),
    [
        (None, set()),
        ((), set()),
        ("sandbox", {"sandbox"}),
        (("Sandbox", "other.svc.cluster.local."), {"sandbox", "other.svc.cluster.local"}),
        ({"10.0.0.7", "::1", "[fd00::7]"}, {"10.0.0.7", "::1", "fd00::7"}),
        ("my_service", {"my_service"}),
    ],
)
def test_insecure_hosts_have_a_normal_form(given: Any, hosts: set[str]) -> None:
    """Letters, the dot at a name's end and an address' brackets make no difference."""
    assert insecure_hosts_of(given) == hosts


@pytest.mark.parametrize(
    "given",
    [
        "*", "*.example.com", "http://sandbox", "sandbox:8080", "", " ", ".", "-a", "a/b", ("sandbox", None), ("a b",),
        7,
        b"sandbox", "10.0.0.0/8",
    ],
)  # fmt: skip
def test_what_is_no_hosts_name_is_refused(given: Any) -> None:
    """There is no wildcard: each host is named."""
    with pytest.raises(ConfigurationError, match="insecure_hosts takes"):
        insecure_hosts_of(given)


@pytest.mark.parametrize("url", ["http://sandbox", "http://SANDBOX:8080/x", "ws://sandbox.", "https://elsewhere"])
def test_a_named_host_may_be_asked_by_http(url: str) -> None:
    """On any port, as a WebSocket too; https goes anywhere, as ever."""
    require_secure(URL(url), "base_url", frozenset({"sandbox"}))


@pytest.mark.parametrize("url", ["http://sandbox.example.com", "http://a.sandbox", "http://sandbo", "ws://other"])
def test_no_other_host_is_meant(url: str) -> None:
    """The name is compared whole; the error says what to write."""
    host = URL(url).host
    with pytest.raises(InsecureTransport, match=rf"insecure_hosts=\('{host}',\)"):
        require_secure(URL(url), "base_url", frozenset({"sandbox"}))


def test_a_named_host_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Once in a process, by name; this machine and https are nothing to warn of."""
    hosts = frozenset({"sandbox", "other", "localhost"})
    for url in ("http://localhost", "https://sandbox", "http://sandbox", "ws://Sandbox", "http://other"):
        require_secure(URL(url), "base_url", hosts)
    assert origins_of("http://sandbox:1", insecure_hosts=hosts) == ("http://sandbox:1",)
    lines = [record.getMessage() for record in caplog.records]
    rest = "as insecure_hosts= permits: tokens and credentials can be read on the way; no action needed in a network"
    assert lines == [f"plain http to {host}, {rest} of your own" for host in ("sandbox", "other")]


@pytest.mark.parametrize(
    "url", ["https://api.example.com", "wss://api.example.com", "http://127.0.0.1", "ws://sandbox"]
)
@pytest.mark.parametrize("proxy", ["http://proxy:3128", "http://localhost:3128", "http://elsewhere:3128"])
def test_a_proxy_that_could_read_is_named_as_well(url: str, proxy: str) -> None:
    """By https it can't; by plain http it must be this machine, or one of the named hosts."""
    hosts, may = frozenset({"sandbox", "proxy"}), "elsewhere" not in proxy or URL(url).scheme in {"https", "wss"}
    if may:
        check_proxy(URL(url), URL(proxy), hosts)
    else:
        with pytest.raises(InsecureTransport, match="through the proxy elsewhere"):
            check_proxy(URL(url), URL(proxy), hosts)


MAKERS: dict[str, Callable[..., Any]] = {
    "Peakly": lambda url, **more: Peakly(username="u", password=MARK, base_url=url, **more),
    "PagoFacil": lambda url, **more: PagoFacil(jwt="j.w.t", base_url=url, **more),
    "PagoFacilLogin": lambda url, **more: PagoFacilLogin(username="u", password=MARK, base_url=url, **more),
    "PagoFacilJWT": lambda url, **more: PagoFacilJWT(access_token="a", base_url=url, **more),
    "chain": lambda url, **more: PagoFacilJWT.from_password(username="u", password=MARK, base_url=url, **more),
    "ClientCredentials": lambda url, **more: ClientCredentials(
        token_url=f"{url}/t", client_id="c", client_secret=MARK, origins=url, **more
    ),
    "issuer": lambda url, **more: ClientCredentials(issuer=url, client_id="c", client_secret=MARK, origins=url, **more),
    "PasswordGrant": lambda url, **more: PasswordGrant(
        token_url=f"{url}/t", username="u", password=MARK, origins=url, **more
    ),
    "RefreshGrant": lambda url, **more: RefreshGrant(token_url=f"{url}/t", refresh_token=MARK, origins=url, **more),
    "JWTBearer": lambda url, **more: JWTBearer(token_url=f"{url}/t", assertion=MARK, origins=url, **more),
    "TokenExchange": lambda url, **more: TokenExchange(token_url=f"{url}/t", subject_token=MARK, origins=url, **more),
    "DeviceCode": lambda url, **more: DeviceCode(
        token_url=f"{url}/t", device_authorization_url=f"{url}/d", client_id="c", show=print, origins=url, **more
    ),
    "DeclaredProvider": lambda url, **more: DeclaredProvider(
        name="d",
        url=url,
        credential={"f": MARK},
        sent_as="json",
        **more,
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_every_provider_takes_insecure_hosts(name: str) -> None:
    """For its endpoints, and for where its token goes; not without, and not for another host."""
    make = MAKERS[name]
    manager = TokenManager(make("http://sandbox:8080", insecure_hosts=("sandbox",)))
    BearerAuth(manager)
    assert manager.origins == ("http://sandbox:8080",)
    assert manager.insecure_hosts == {"sandbox"}
    for more in ({}, {"insecure_hosts": "other"}):
        with pytest.raises(InsecureTransport):
            make("http://sandbox:8080", **more)


def test_a_provider_of_ones_own_declares_them() -> None:
    """As an attribute; a wrong one is refused when the manager is made."""

    class Declaring(FakeProvider):
        insecure_hosts: Any = ("sandbox",)

    class Wrong(FakeProvider):
        insecure_hosts: Any = 7

    with pytest.raises(InsecureTransport):
        BearerAuth(TokenManager(FakeProvider(origins=("http://sandbox",))))
    assert BearerAuth(TokenManager(Declaring(origins=("http://sandbox",))))
    with pytest.raises(ConfigurationError, match="insecure_hosts"):
        TokenManager(Wrong())


@pytest.mark.parametrize(
    ("url", "served"),
    [
        ("https://a.example/x", True),
        (URL("https://a.example/x"), True),
        ("https://A.Example.:443?x#y", True),
        ("https://user:pw@a.example/x", True),
        ("https://evil.test@a.example/x", True),
        ("wss://a.example/x", True),
        ("http://localhost:8080/x", True),
        ("http://[::1]:8080/x", True),
        ("http://localhost/x", False),
        ("https://localhost:8080/x", False),
        ("https://a.example:8443/x", False),
        ("https://a.example.evil.test/x", False),
        ("https://a.example@evil.test/x", False),
        ("https://evil.test#a.example", False),
        ("http://b.example/", False),
        # Some clients take these to evil.test: urllib3 ends the host at a backslash.
        ("https://evil.test\\@a.example/x", False),
        ("https://evil.test\\.a.example/x", False),
        ("https://me@evil.test@a.example/x", False),
        ("https://a.exa\tmple/x", False),
        (" https://a.example/x", False),
        ("https://\u00f1.example/x", True),
        ("https://xn--ida.example/x", True),
        ("https://a.example\u2024/x", False),
        ("https://\uff41.example/x", False),
        ("https://a\u3002example/x", False),
        ("https://n\u0303.example/x", False),
    ],
)
def test_where_a_token_may_be_taken_by_hand(url: Any, *, served: bool) -> None:
    """A URL that HTTP clients read in different ways is nobody's."""
    origins = ("https://a.example", "https://\u00f1.example", "http://localhost:8080", "http://[::1]:8080")
    assert is_served(url, origins, frozenset()) is served


@pytest.mark.parametrize(
    "url", ["/orders", "a.example/x", "https://", "mailto:me@a.example", f"https://[{MARK}", 7, b"x"]
)
def test_a_url_that_says_no_origin(url: Any) -> None:
    """It is a mistake, of which the message shows nothing."""
    with pytest.raises(ConfigurationError, match="the whole URL") as caught:
        is_served(url, ("https://a.example",), frozenset())
    assert MARK not in str(caught.value)


def test_a_url_in_the_clear() -> None:
    """Plain http to a host that is served by https is a forgotten ``s``, unless plain http is served as well."""
    with pytest.raises(InsecureTransport):
        is_served("http://a.example/x", ("https://a.example",), frozenset())
    assert is_served("http://a.example/x", ("https://a.example", "http://a.example"), frozenset({"a.example"}))
