"""Where a token may go: origins, and which of them are safe to send to.

An origin is scheme, host and port (RFC 6454 §4). A WebSocket's ``wss`` is ``https`` and its ``ws`` is ``http``.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable

from yarl import URL

from asyncauth.errors import ConfigurationError, InsecureTransport

__all__ = ["absolute_url", "is_loopback", "origin_of", "origins_of", "require_secure"]

_WEB = {"ws": "http", "wss": "https", "http": "http", "https": "https"}


def is_loopback(host: str | None) -> bool:
    """Return whether a host is this machine: ``localhost``, 127.0.0.0/8 or ::1."""
    if host is None:
        return False
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def absolute_url(text: str | URL, argument: str, *, query: bool = False) -> URL:
    """Return an http or https URL.

    Args:
        text: The URL.
        argument: Its name, for the error.
        query: Whether it may have a query, as a token endpoint's may (RFC 6749 §3.2).

    Raises:
        ConfigurationError: It is no absolute URL, or has a user, a fragment, or a query that it may not have.
    """
    url, complete = None, False
    with contextlib.suppress(TypeError, ValueError):  # whose texts may hold a password of the URL's
        url = URL(text)
        complete = url.absolute and url.host is not None and url.scheme in _WEB and url.port is not None
    del text  # and url, below: a traceback that shows locals must not show what they may hold
    if url is None:
        raise ConfigurationError(f"{argument} is no URL: write one such as 'https://api.example.com'")
    if not complete:
        del url
        raise ConfigurationError(f"{argument} must be absolute, such as 'https://api.example.com'")
    if url.user is not None or url.password is not None or url.raw_fragment or (url.raw_query_string and not query):
        del url
        raise ConfigurationError(f"{argument} must have no user, password{'' if query else ', query'} or fragment")
    return url


def require_secure(url: URL, argument: str) -> None:
    """Refuse ``http`` to any other machine.

    Raises:
        InsecureTransport: What is sent there could be read on the way.
    """
    if _WEB.get(url.scheme) != "https" and not is_loopback(url.host):
        raise InsecureTransport(
            f"{argument} is plain http to {url.host}: a token or password would travel in the clear; use https"
            " (http is accepted for loopback hosts only)"
        )


def origin_of(url: URL) -> URL:
    """Return the origin of an absolute URL, with ``ws`` and ``wss`` as what they are on the wire."""
    origin = url.origin()
    # Through text: a default port that was written out makes a yarl.URL unequal to the same one without it.
    return URL(str(origin.with_scheme(_WEB.get(origin.scheme, origin.scheme))))


def origins_of(values: str | Iterable[str], argument: str = "origins") -> tuple[str, ...]:
    """Return origins in their normal form, each once.

    Raises:
        ConfigurationError: One is no origin, or has a path.
        InsecureTransport: One is plain http to another machine.
    """
    given: object = values
    if not isinstance(given, (str, URL, Iterable)):
        raise ConfigurationError(f"{argument} takes a str or several, not {type(given).__name__}")
    found: dict[str, None] = {}
    for value in (values,) if isinstance(values, (str, URL)) else values:
        url = absolute_url(value, argument)
        if url.path not in {"", "/"}:
            raise ConfigurationError(f"{argument} takes scheme, host and port alone: {str(url.origin())!r}")
        require_secure(url, argument)
        found[str(origin_of(url))] = None
    return tuple(found)
