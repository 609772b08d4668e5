"""Why a request got no answer, and what to do: a sentence without anything that was sent. Pure.

aiohttp's own texts and reprs may contain headers and queries, so only classes, numbers and host names are used.
"""

from __future__ import annotations

import os
import re
import ssl
from typing import NamedTuple

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

__all__ = ["LATE", "Trouble", "distrust", "trouble_of"]


class Trouble(NamedTuple):
    """Why a request got no answer.

    Attributes:
        says: The problem.
        do: What to do or to check.
        unsent: Whether the server certainly did not receive the request (default ``False``).
        lasting: Whether the same request would fail in the same way again, although the server answers (default
            ``False``).
    """

    says: str
    do: str
    unsent: bool = False
    lasting: bool = False

    def __str__(self) -> str:
        return f"{self.says}: {self.do}"


LATE = Trouble("no answer in time", "is the server overloaded, or does a firewall drop what is sent there?")
"""The text for a request that took too long."""

_TRUST = (
    "if the certificate is your company's or a proxy's own, have its authority trusted on this machine (or"
    " SSL_CERT_FILE); if not, somebody may be listening: send nothing"
)
# Keys: OpenSSL's X509_V_ERR_… numbers.
_DISTRUST = {
    9: ("is not valid yet", "is this machine's clock right?"),
    10: ("has expired", "tell the server's operator; is this machine's clock right?"),
    18: ("is signed by itself", _TRUST),
    19: ("is signed by an authority that this machine does not trust", _TRUST),
    20: ("is signed by an authority that this machine does not know", _TRUST),
    21: ("comes without the authorities between", "tell the server's operator: it must send the whole chain"),
    62: ("is for another host", "is the host's name right?"),
    64: ("is for another address", "name the host as its certificate does"),
}

_BETWEEN = "does a proxy or a firewall end connections there, or is the server restarted?"
_RUNNING = "is the server running, and are host and port right?"
_SPELLED = "is it spelled right, and has this machine a network and a name server?"
_TLS_PORT = "is this the port for https, and does a proxy stand between?"
_CLIENT_CERTIFICATE = "the server wants a client certificate: give http= a session that has one"
_HTTP = "are host and port right?"
_LATER = "try again later"
_LONGER = "give http= a session with a larger max_field_size"
_PROXY_AUTH = 407


def distrust(error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    """Return why a certificate is not trusted, and what to do."""
    return _DISTRUST.get(error.verify_code) or (f"is not trusted ({error.verify_message})", _TRUST)


def trouble_of(error: BaseException) -> Trouble:  # noqa: C901, PLR0911, PLR0912 (a table)
    """Return why a request got no answer.

    Args:
        error: The error that aiohttp, or the operating system, raised.
    """
    cause = _first_cause(error)
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return _untrusted(error)
        case aiohttp.ClientConnectorSSLError():
            says = f"{_place(error)} makes no TLS handshake ({_reason(_os_error(error))})"
            return Trouble(says, _TLS_PORT, unsent=True)
        case aiohttp.ClientConnectorDNSError():
            return Trouble(f"{error.host} has no address ({_reason(error.os_error)})", _SPELLED, unsent=True)
        case aiohttp.ClientProxyConnectionError():
            says = f"no connection to the proxy {_place(error)} could be made ({_reason(error.os_error)})"
            return Trouble(says, "is it running, and are host and port right?", unsent=True)
        case aiohttp.ClientConnectorError():
            says = f"no connection to {_place(error)} could be made ({_reason(error.os_error)})"
            return Trouble(says, _RUNNING, unsent=True)
        case aiohttp.ClientHttpProxyError():
            do = "give it its credentials (proxy_auth)" if error.status == _PROXY_AUTH else "does it allow this host?"
            return Trouble(f"the proxy refuses to connect (status {error.status})", do, unsent=True)
        case TimeoutError():
            return LATE
        case aiohttp.ServerDisconnectedError():
            return Trouble("the server closed the connection before it answered", _BETWEEN)
        case aiohttp.ClientResponseError() if isinstance(cause, LineTooLong):
            limit = re.match(r"Got more than (\d+) bytes", cause.message)
            than = "this session reads" if limit is None else f"{limit[1]} bytes, which is all that this session reads"
            return _lasting(f"a header of the answer is longer than {than}", _LONGER)
        case aiohttp.ClientResponseError() if isinstance(cause, HttpProcessingError):
            return Trouble(f"the answer is not HTTP ({type(cause).__name__})", _HTTP)
        case aiohttp.ClientPayloadError():
            return Trouble("the answer broke off", _BETWEEN)
        case OSError() if isinstance(cause, ssl.SSLError):
            reason = _reason(cause)
            wanted = "CERTIFICATE_REQUIRED" in reason or "BAD_CERTIFICATE" in reason
            return Trouble(f"the server broke TLS off ({reason})", _CLIENT_CERTIFICATE if wanted else _LATER)
        case ConnectionError() | aiohttp.ClientOSError():
            return Trouble(f"the connection broke before the answer came ({_reason(error)})", _BETWEEN)
        case OSError():
            return Trouble(f"no answer was received ({_reason(error)})", _LATER)
        case _:
            return Trouble(f"no answer was received ({type(error).__name__})", _LATER)


def _first_cause(error: BaseException) -> BaseException:
    """Return the first cause in an error's chain; the error itself if it has none."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _lasting(says: str, do: str) -> Trouble:
    return Trouble(says, do, lasting=True)


def _untrusted(error: aiohttp.ClientConnectorCertificateError) -> Trouble:
    why = error.certificate_error
    says, do = distrust(why) if isinstance(why, ssl.SSLCertVerificationError) else ("is not trusted", _TRUST)
    return Trouble(f"the TLS certificate of {error.host} {says}", do, unsent=True)


def _os_error(error: aiohttp.ClientConnectorError) -> OSError:
    return error.os_error


def _place(error: aiohttp.ClientConnectorError) -> str:
    return f"{error.host}:{error.port}"


def _reason(error: BaseException) -> str:
    """Return the short text of an error of the operating system, of OpenSSL or of the resolver."""
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(number, int) and number > 0:
        return os.strerror(number)  # not strerror, which contains the address in asyncio's errors
    # A resolver's numbers are negative, and differ from the system's.
    words = error.strerror if isinstance(error, OSError) and number is not None else None
    return words or type(error).__name__
