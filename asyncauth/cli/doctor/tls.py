"""What is to be said of a server's certificate. Pure."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from asyncauth._http.trouble import distrust as why_distrusted
from asyncauth.cli.doctor.finding import Finding, fail, ok, warn
from asyncauth.cli.times import in_words

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["certificate", "distrust"]

_SOON = 14 * 86400.0
"""Seconds before its end from which on a certificate should have been renewed: most are at 30 days."""


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
        do = "tell the server's operator: after that nobody can connect"
        return warn(subject, f"{version}; the certificate expires in {in_words(left)}", do)
    return ok(subject, f"{version}; the certificate is trusted, and expires in {in_words(left)}")


def distrust(subject: str, host: str, error: ssl.SSLCertVerificationError) -> Finding:
    """Return why a certificate is not trusted."""
    says, do = why_distrusted(error)
    return fail(subject, f"the certificate of {host} {says}", do)
