"""Where a token may be sent: origins, and which of them are secure.

An origin is scheme, host and port (RFC 6454 §4). A WebSocket's ``wss`` counts as ``https``, and its ``ws`` as ``http``.

Plain http is accepted for this machine, and for hosts that a provider names in ``insecure_hosts=``.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import logging
import re
import unicodedata
from collections.abc import Collection, Iterable
from typing import TypeAlias

from yarl import URL

from asyncauth._base.patterns import pattern
from asyncauth.errors import ConfigurationError, InsecureTransport

__all__ = [
    "Place",
    "absolute_url",
    "check_proxy",
    "in_the_clear_error",
    "insecure_hosts_of",
    "is_loopback",
    "is_served",
    "origin_of",
    "origin_url",
    "origins_of",
    "place_of",
    "places_of",
    "require_secure",
]

_HOST_AND_PORT = pattern(r"(?:localhost|(?:[a-z0-9-]{1,40}\.){1,8}[a-z0-9]{1,12})(?::[0-9]{1,5})?", re.IGNORECASE)
"""A host's name with a dot, in parts no longer than a host's: a token has longer parts."""
_WEB = {"ws": "http", "wss": "https", "http": "http", "https": "https"}
_HOST = pattern(r"[^\W_](?:[\w.-]{0,252}[^\W_])?\.?")

_READ_IN_TWO_WAYS = pattern(r"[\x00-\x20\x7f\\]|//[^/?#]*@[^/?#]*@")
"""Text that HTTP clients read differently: one ends a host's name at a backslash, another removes a tab."""
_AUTHORITY = pattern(r"[^/?#]*//([^/?#]*)")

Place: TypeAlias = tuple[str, str | None]
"""An origin as two parts: scheme, and host with any port but the scheme's own, as in the ``Host`` header.

Without user name, default port, or a dot at the end of the host, however the request's URL is written.
"""

_log = logging.getLogger("asyncauth.manager")
_warned: set[str] = set()
"""The hosts of ``insecure_hosts=`` that this process has warned about."""


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
        argument: The argument's name, for the error.
        query: Whether it may have a query, as a token endpoint's may (RFC 6749 §3.2; default ``False``).

    Raises:
        ConfigurationError: It is not an absolute URL, or has a user, a fragment, or a query that is not allowed.
    """
    url, complete, example = None, False, _example(text)
    with contextlib.suppress(TypeError, ValueError):  # their texts may hold a password from the URL
        url = URL(text)
        complete = url.absolute and url.host is not None and url.scheme in _WEB and url.port is not None
    del text  # as url, below: a traceback with local variables must not show a secret
    if url is None:
        raise ConfigurationError(f"{argument} is not a URL", advice=f"write one such as {example!r}")
    if not complete:
        del url
        raise ConfigurationError(f"{argument} must be absolute, such as {example!r}")
    if url.user is not None or url.password is not None or url.raw_fragment or (url.raw_query_string and not query):
        del url
        raise ConfigurationError(f"{argument} must have no user, password{'' if query else ', query'} or fragment")
    return url


def _example(text: object) -> str:
    """Return the URL that was probably meant, if only a host was written. Other text is not shown: it may be secret."""
    if not isinstance(text, str) or not _HOST_AND_PORT().fullmatch(text):
        return "https://api.example.com"
    return f"{'http' if is_loopback(text.partition(':')[0]) else 'https'}://{text}"


def insecure_hosts_of(value: str | Iterable[str] | None) -> frozenset[str]:
    """Return the hosts of ``insecure_hosts=`` in their normal form.

    Args:
        value: One host or several, exactly as URLs name them, without a port; ``None``: none.

    Raises:
        ConfigurationError: One is not a host's name or address.
    """
    given: object = () if value is None else (value,) if isinstance(value, str) else value
    if not isinstance(given, Iterable):
        raise ConfigurationError(f"insecure_hosts takes a str or several, not {type(given).__name__}")
    return frozenset(map(_host, given))


def _host(value: object) -> str:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(value.strip("[]")).compressed
        if _HOST().fullmatch(value):
            return value.rstrip(".").lower()
    raise ConfigurationError("insecure_hosts takes host names without scheme, port or wildcard, such as 'sandbox'")


def _may_be_insecure(host: str | None, insecure_hosts: Collection[str]) -> bool:
    """Return whether plain http may go to a host. Warns once per process about a host that a provider names."""
    if is_loopback(host):
        return True
    host = "" if host is None else host.rstrip(".").lower()
    if host not in insecure_hosts:
        return False
    if host not in _warned:
        _warned.add(host)
        _log.warning(
            "plain http to %s, as insecure_hosts= permits: tokens and credentials can be read on the way;"
            " no action needed in a network of your own",
            host,
        )
    return True


def require_secure(url: URL, argument: str, insecure_hosts: Collection[str] = ()) -> None:
    """Raise if a URL is ``http`` to another machine.

    Args:
        url: The URL.
        argument: The argument's name, for the error.
        insecure_hosts: Hosts that are allowed nevertheless, from `insecure_hosts_of` (default: none).

    Raises:
        InsecureTransport: Others could read what is sent there.
    """
    if _WEB.get(url.scheme) != "https" and not _may_be_insecure(url.host, insecure_hosts):
        raise InsecureTransport(
            f"{argument} is plain http to {url.host}, so a token or password would be sent unencrypted",
            advice=f"use https"
            f" (http is accepted for loopback hosts, and for those that insecure_hosts=({url.host!r},) names)",
        )


def check_proxy(url: URL, proxy: URL, insecure_hosts: Collection[str] = ()) -> None:
    """Raise if a secret would be sent by plain http through a proxy on another machine, even if meant for this one.

    Args:
        url: The request's URL.
        proxy: The proxy's URL.
        insecure_hosts: Hosts that may read it, from `insecure_hosts_of` (default: none).

    Raises:
        InsecureTransport: The proxy could read the secret.
    """
    if _WEB.get(url.scheme) == "http" and not _may_be_insecure(proxy.host, insecure_hosts):
        raise InsecureTransport(
            f"plain http through the proxy {proxy.host}, which can read what you send",
            advice=f"write https, or keep {url.host} from the proxy (no_proxy), or name the proxy in insecure_hosts=",
        )


def origin_of(url: URL) -> URL:
    """Return the origin of an absolute URL, with ``http`` for ``ws`` and ``https`` for ``wss``."""
    origin = url.origin()
    # Through text: a yarl.URL with an explicit default port is not equal to the same URL without it.
    return URL(str(origin.with_scheme(_WEB.get(origin.scheme, origin.scheme))))


def origin_url(text: str | URL, argument: str) -> URL:
    """Return the URL of an origin, which has no path.

    Args:
        text: The origin.
        argument: The argument's name, for the error.

    Raises:
        ConfigurationError: It is not an absolute URL, or has more than scheme, host and port.
    """
    url = absolute_url(text, argument)
    if url.path not in {"", "/"}:
        raise ConfigurationError(f"{argument} takes only scheme, host and port: {str(url.origin())!r}")
    return url


def origins_of(
    values: str | Iterable[str], argument: str = "origins", insecure_hosts: Collection[str] = ()
) -> tuple[str, ...]:
    """Return origins in their normal form, each once.

    Args:
        values: One or several.
        argument: The argument's name, for the error (default ``"origins"``).
        insecure_hosts: Hosts to which plain http may go, from `insecure_hosts_of` (default: none).

    Raises:
        ConfigurationError: One is not an origin, or has a path.
        InsecureTransport: One is plain http to another machine.
    """
    given: object = values
    if not isinstance(given, (str, URL, Iterable)):
        raise ConfigurationError(f"{argument} takes a str or several, not {type(given).__name__}")
    found: dict[str, None] = {}
    for value in (values,) if isinstance(values, (str, URL)) else values:
        url = origin_url(value, argument)
        require_secure(url, argument, insecure_hosts)
        found[str(origin_of(url))] = None
    return tuple(found)


def place_of(url: URL) -> Place:
    """Return the origin of a request's URL as a key for look-ups."""
    host = url.host_port_subcomponent
    return url.scheme, None if host is None else host.lower()  # in upper case, if the URL was made with encoded=True


@functools.lru_cache(maxsize=256)  # a pool makes one BearerAuth per request, mostly for the same few origins
def places_of(origins: tuple[str, ...], insecure_hosts: frozenset[str]) -> tuple[tuple[Place, ...], frozenset[Place]]:
    """Return the origins that a token may go to, and those that must not be called by plain http, with WebSockets.

    Raises:
        ConfigurationError: See `origins_of`.
        InsecureTransport: See `origins_of`.
    """
    served: dict[Place, None] = {}
    in_the_clear: set[Place] = set()
    for origin in map(URL, origins_of(origins, insecure_hosts=insecure_hosts)):
        socket = "wss" if origin.scheme == "https" else "ws"  # a WebSocket's URL keeps its scheme
        served.update(dict.fromkeys((place_of(origin), place_of(origin.with_scheme(socket)))))
        if origin.is_default_port() and not is_loopback(origin.host):
            _, host = place_of(origin)
            in_the_clear.update((("http", host), ("ws", host)))
    return tuple(served), frozenset(in_the_clear)


def in_the_clear_error(url: URL) -> InsecureTransport:
    """Return the error for a request by plain http to a host that is served by https."""
    return InsecureTransport(f"plain http to {url.host}", advice="write https, or what you send can be read")


def _is_ambiguous(text: str) -> bool:
    """Return whether HTTP clients may read a URL in different ways, and so connect to different hosts."""
    if _READ_IN_TWO_WAYS().search(text):
        return True
    found = _AUTHORITY().match(text)
    authority = "" if found is None else found[1]
    # Some clients normalise a look-alike to a full stop or a plain letter, others pass it to the resolver unchanged.
    return not authority.isascii() and not (
        unicodedata.is_normalized("NFKC", authority) and all(each.isascii() or each.isalnum() for each in authority)
    )


def is_served(text: str | URL, origins: tuple[str, ...], insecure_hosts: frozenset[str]) -> bool:
    """Return whether a token may go to a URL that another HTTP client will read.

    Args:
        text: The URL. A URL that clients read in different ways gets no token, since the token could go elsewhere.
        origins: The origins that the token may go to.
        insecure_hosts: Hosts to which it may be sent by plain http, from `insecure_hosts_of`.

    Raises:
        ConfigurationError: It is not an absolute URL.
        InsecureTransport: It is plain http to a host that is served by https.
    """
    if _is_ambiguous(str(text)):
        return False
    url, absolute = None, False
    with contextlib.suppress(TypeError, ValueError):  # their texts may hold a secret from the URL
        url = URL(text)
        absolute = url.absolute and bool(url.host) and url.port is not None
    if url is None or not absolute:
        del text, url  # a traceback with local variables must not show a secret
        raise ConfigurationError("url= takes the whole URL of the request, such as 'https://api.example.com/orders'")
    served, in_the_clear = places_of(origins, insecure_hosts)
    place = place_of(url)
    if place in in_the_clear and place not in served:
        raise in_the_clear_error(url)
    return place in served
