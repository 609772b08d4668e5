"""Where a token may go."""

from __future__ import annotations

from typing import Any

import pytest
from harness.canary import MARK
from yarl import URL

from asyncauth import ConfigurationError, InsecureTransport, Peakly
from asyncauth._http.origin import absolute_url, is_loopback, origin_of, origins_of, require_secure


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
    """What is no absolute http or https URL is refused, by its argument's name."""
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
