"""Why a request got no answer, in words that hold nothing of what was sent."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import Any

import aiohttp
import pytest
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, LineTooLong
from harness.canary import MARK
from yarl import URL

from asyncauth._http.trouble import distrust, trouble_of

KEY: Any = aiohttp.client_reqrep.ConnectionKey("api.example.com", 443, True, True, None, None, None)


def ssl_error(reason: str | None) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] {MARK}")
    error.reason = reason  # type: ignore[assignment]  # as OpenSSL may leave it
    return error


def untrusted(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, MARK)
    error.verify_code, error.verify_message = code, "some reason"
    return error


def response_error(cause: BaseException | None = None, status: int = 400) -> aiohttp.ClientResponseError:
    url = URL("https://api.example.com/token")
    info = aiohttp.RequestInfo(url, "POST", {"Authorization": MARK}, url)  # type: ignore[arg-type]
    error = aiohttp.ClientResponseError(info, (), status=status, message=MARK)
    error.__cause__ = cause
    return error


def proxy_error(status: int) -> aiohttp.ClientHttpProxyError:
    error = response_error(status=status)
    return aiohttp.ClientHttpProxyError(error.request_info, (), status=status, message=MARK)


def os_error(cause: BaseException | None = None) -> aiohttp.ClientOSError:
    error = aiohttp.ClientOSError(1, MARK)
    error.__cause__ = cause
    return error


REFUSED = os.strerror(errno.ECONNREFUSED)
RESET = os.strerror(errno.ECONNRESET)

UNSENT = [
    (
        aiohttp.ClientConnectorError(KEY, OSError(errno.ECONNREFUSED, MARK)),
        f"no connection to api.example.com:443 could be made ({REFUSED}): is the server running",
    ),
    (aiohttp.ClientConnectorError(KEY, OSError(MARK)), "could be made (OSError)"),
    (
        aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "Name or service not known")),
        "api.example.com has no address (Name or service not known): is it spelled right",
    ),
    (aiohttp.ClientConnectorDNSError(KEY, OSError(None, MARK)), "api.example.com has no address (OSError)"),
    (
        aiohttp.ClientProxyConnectionError(KEY, OSError(errno.ECONNREFUSED, MARK)),
        f"no connection to the proxy api.example.com:443 could be made ({REFUSED})",
    ),
    (
        aiohttp.ClientConnectorSSLError(KEY, ssl_error("WRONG_VERSION_NUMBER")),
        "api.example.com:443 makes no TLS handshake (WRONG_VERSION_NUMBER): is this the port for https",
    ),
    (aiohttp.ClientConnectorSSLError(KEY, ssl_error(None)), "makes no TLS handshake (SSLError)"),
    (
        aiohttp.ClientConnectorCertificateError(KEY, untrusted(62)),
        "the TLS certificate of api.example.com is for another host: is the host's name right?",
    ),
    (
        aiohttp.ClientConnectorCertificateError(KEY, untrusted(20)),
        "is signed by an authority that this machine does not know: if the certificate is your company's",
    ),
    (
        aiohttp.ClientConnectorCertificateError(KEY, ValueError(MARK)),
        "the TLS certificate of api.example.com is not trusted: if",
    ),
    (proxy_error(407), "the proxy refuses to connect (status 407): give it its credentials"),
    (proxy_error(403), "the proxy refuses to connect (status 403): does it allow this host?"),
]

PERHAPS_SENT = [
    (TimeoutError(MARK), "no answer in time"),
    (aiohttp.ServerTimeoutError(), "no answer in time"),
    (aiohttp.ServerDisconnectedError(), "the server closed the connection before it answered"),
    (aiohttp.ClientPayloadError(MARK), "the answer broke off"),
    (aiohttp.ClientOSError(errno.ECONNRESET, MARK), f"the connection broke before the answer came ({RESET})"),
    (ConnectionResetError(MARK), "the connection broke before the answer came (ConnectionResetError)"),
    (
        os_error(ssl_error("TLSV13_ALERT_CERTIFICATE_REQUIRED")),
        "the server broke TLS off (TLSV13_ALERT_CERTIFICATE_REQUIRED): the server wants a client certificate",
    ),
    (os_error(ssl_error("UNEXPECTED_MESSAGE")), "the server broke TLS off (UNEXPECTED_MESSAGE)"),
    (ssl_error("UNEXPECTED_MESSAGE"), "the server broke TLS off (UNEXPECTED_MESSAGE)"),
    (OSError(errno.ENOSPC, MARK), f"no answer was received ({os.strerror(errno.ENOSPC)})"),
    (response_error(), "no answer was received (ClientResponseError)"),
    (response_error(BadHttpMessage(MARK)), "the answer is not HTTP (BadHttpMessage)"),
]


@pytest.mark.parametrize(("error", "words"), [*UNSENT, *PERHAPS_SENT])
def test_a_cause_is_named(error: Exception, words: str) -> None:
    """Each way to fail has a sentence of its own, with what to do, and none shows what was sent."""
    trouble = trouble_of(error)
    assert words in str(trouble)
    assert MARK not in str(trouble)
    assert not trouble.lasting


@pytest.mark.parametrize("error", [error for error, _ in UNSENT])
def test_what_was_certainly_not_sent(error: Exception) -> None:
    """Without a connection the server got nothing: a refresh token is as good as it was."""
    assert trouble_of(error).unsent


@pytest.mark.parametrize("error", [error for error, _ in PERHAPS_SENT])
def test_what_may_have_been_sent(error: Exception) -> None:
    """After that nobody knows."""
    assert not trouble_of(error).unsent


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            f"Got more than 8190 bytes when reading: {MARK}",
            "longer than 8190 bytes, which is all that this session reads",
        ),
        (MARK, "longer than this session reads"),
    ],
)
def test_a_long_header_names_its_limit(message: str, words: str) -> None:
    """The server would send it again: the error says how to read it."""
    cause = LineTooLong.__new__(LineTooLong)
    cause.message = message
    between = HttpProcessingError()
    between.__cause__ = cause
    trouble = trouble_of(response_error(between))
    assert words in str(trouble)
    assert "give http= a session with a larger max_field_size" in str(trouble)
    assert MARK not in str(trouble)
    assert trouble.lasting


def test_a_certificates_fault_that_has_no_name_of_ours_is_openssls() -> None:
    """What OpenSSL says of it is shown."""
    says, do = distrust(untrusted(77))
    assert says == "is not trusted (some reason)"
    assert "SSL_CERT_FILE" in do
