"""What is to be said of a server's certificate. Pure."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from asyncauth.cli.doctor.finding import Finding, fail, ok, warn
from asyncauth.cli.times import in_words

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["certificate", "distrust"]

_SOON = 14 * 86400.0
"""Seconds before its end from which on a certificate should have been renewed: most are at 30 days."""

_TRUST = (
    "if it is your company's or a proxy's own, have its authority trusted on this machine (or SSL_CERT_FILE);"
    " if not, somebody may be listening: send nothing"
)
# OpenSSL's X509_V_ERR_… numbers.
_WHY = {
    9: ("is not valid yet", "is this machine's clock right?"),
    10: ("has expired", "tell whoever runs the server; is this machine's clock right?"),
    18: ("is signed by itself", _TRUST),
    19: ("is signed by an authority that this machine does not trust", _TRUST),
    20: ("is signed by an authority that this machine does not know", _TRUST),
    21: ("comes without the authorities between", "tell whoever runs the server: it must send the whole chain"),
    62: ("is for another host", "is the host's name right?"),
    64: ("is for another address", "name the host as its certificate does"),
}


def certificate(subject: str, cert: Mapping[str, Any], version: str, now: float) -> Finding:
    """Return for how long a trusted certificate is good.

    Args:
        subject: What the finding is about.
        cert: As ``SSLObject.getpeercert()`` has it.
        version: Of TLS.
        now: The wall clock, in Unix epoch seconds.
    """
    left = ssl.cert_time_to_seconds(str(cert["notAfter"])) - now
    if left < _SOON:
        do = "tell whoever runs the server: from then on nobody can connect"
        return warn(subject, f"{version}; the certificate ends in {in_words(left)}", do)
    return ok(subject, f"{version}; the certificate is trusted, and ends in {in_words(left)}")


def distrust(subject: str, host: str, error: ssl.SSLCertVerificationError) -> Finding:
    """Return why a certificate is not trusted."""
    known = _WHY.get(error.verify_code)
    says, do = known or (f"is not trusted ({error.verify_message})", _TRUST)
    return fail(subject, f"the certificate of {host} {says}", do)
