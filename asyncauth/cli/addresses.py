"""Addresses that the user wrote, checked so that an error names the option and says what to write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncauth._http.origin import absolute_url, is_loopback
from asyncauth.cli.outcome import Problem

if TYPE_CHECKING:
    from collections.abc import Collection

    from yarl import URL

__all__ = ["check_plain", "secure_url"]


def secure_url(text: str, option: str, insecure_hosts: Collection[str] = (), *, query: bool = False) -> URL:
    """Return an absolute URL that credentials or a token may be sent to.

    Args:
        text: What the user wrote.
        option: Where, such as ``--base-url``.
        insecure_hosts: Hosts to which plain http may go.
        query: Whether it may have a query.

    Raises:
        ConfigurationError: It is not an absolute URL.
        Problem: It is plain http to another machine.
    """
    url = absolute_url(text, option, query=query)
    check_plain(url, option, insecure_hosts)
    return url


def check_plain(url: URL, what: str, insecure_hosts: Collection[str]) -> None:
    """Refuse plain http to another machine, and say to write https.

    Args:
        url: Where something secret would be sent.
        what: What it is, such as ``--base-url``.
        insecure_hosts: Hosts to which plain http may go, by `insecure_hosts_of`.

    Raises:
        Problem: It would be sent unencrypted.
    """
    host = (url.host or "").rstrip(".").lower()
    if url.scheme != "http" or is_loopback(host) or host in insecure_hosts:
        return
    # A name without a dot, or an address: what containers have. Nobody should be told to send passwords there else.
    inside = "." not in host or host.replace(".", "").isdecimal() or ":" in host
    permit = f" (or permit it, in a network of containers, with --insecure-host {host})" if inside else ""
    raise Problem(
        f"{what} is plain http to {url.host}, so a token or password would be sent unencrypted: use"
        f" {url.origin().with_scheme('https')}{permit}"
    )
