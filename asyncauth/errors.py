"""The library's exceptions: all derive from `AuthError`.

::

    aiohttp.ClientError
     └─ AuthError                       no token is available, or it may not be sent
         ├─ CredentialsRejected         permanent: the token endpoint rejected the credential
         ├─ TokenEndpointUnavailable    transient: network, timeout, 5xx, 429
         ├─ InvalidTokenResponse        the answer is unusable: unreadable, or without a token that is still valid
         ├─ InsecureTransport           plain http to a host other than this machine
         ├─ ConfigurationError          an argument is wrong
         ├─ StoreError                  a call to a shared store failed
         │   └─ LockTimeout             another process held the store's lock for too long
         └─ ManagerClosed               the manager was closed before it had a token

`AuthError` is an ``aiohttp.ClientError``, so code that handles a session's errors handles these, too. No error holds a
secret in its message, its fields or its chain. Its text (``str``) is one line without control characters, whatever name
a provider has. The parts of the text always stand in this order: what happened, where, what the server said, what to
do::

    the server rejected the password [peakly token, https://api.peakly.co/token, status 401]; the server says "…":
    check it
"""

from __future__ import annotations

from typing import ClassVar, Self

import aiohttp

from asyncauth._base.printable import name_of, printable

__all__ = [
    "AuthError",
    "ConfigurationError",
    "CredentialsRejected",
    "InsecureTransport",
    "InvalidTokenResponse",
    "LockTimeout",
    "ManagerClosed",
    "StoreError",
    "TokenEndpointUnavailable",
]


class AuthError(aiohttp.ClientError):
    """No usable token is available.

    Attributes:
        message: What happened, without the place and the server's words.
        advice: What to do; ``""``: the message says it, or nothing is known.
        provider: The provider's name (``"peakly"``); ``None``: no provider was involved.
        step: The provider's own name for the request that failed (``"createToken"``); ``None``: it has no name, or no
            request failed.
        endpoint: The token endpoint's URL without user, query and fragment; ``None``: no request was sent.
        status: The HTTP status of the answer; ``None``: no answer arrived.
        error: The server's error code (RFC 6749 §5.2); ``None``: it sent none.
        error_description: The server's own message, shortened and without control characters; ``None``: it sent none.
        retry_after: Seconds to wait before another try, from when the error was raised; ``None``: unknown.
        upstream: Whether another manager failed, which supplies this one's credential.
        transient: Whether a retry with the same arguments can succeed (a class attribute).
    """

    transient: ClassVar[bool] = False

    def __init__(
        self,
        message: str = "",
        *,
        advice: str = "",
        provider: str | None = None,
        step: str | None = None,
        endpoint: str | None = None,
        status: int | None = None,
        error: str | None = None,
        error_description: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.provider = provider
        self.step = step
        self.endpoint = endpoint
        self.status = status
        self.error = error
        self.error_description = error_description
        self.retry_after = retry_after
        self.upstream = False

    def __str__(self) -> str:
        name = " ".join(name_of(part) for part in (self.provider, self.step) if part)
        status = "" if self.status is None else f"status {self.status}"
        where = ", ".join(part for part in (name, self.endpoint, status) if part)
        said = ": ".join(part for part in (self.error, self.error_description) if part)
        # Always in this order: what happened, where, what the server said, what to do.
        parts = (
            f"{self.message} [{where}]" if where else self.message,
            f'; the server says "{said}"' if said else "",
            f": {self.advice}" if self.advice else "",
        )
        # Users' and servers' texts may be in it; a log shows it on one line.
        return printable("".join(parts).lstrip(" ;:"))

    def again(self) -> Self:
        """Return a new error of the same class with the same message and fields, and no cause or traceback.

        Callers that share a failed refresh each receive their own error: one exception object raised in several tasks
        would collect all their tracebacks.
        """
        twin = type(self).__new__(type(self), *self.args)
        twin.args = self.args
        twin.__dict__.update(self.__dict__)
        return twin


class CredentialsRejected(AuthError):
    """The token endpoint rejected the credential. A retry with the same credential would be rejected, too.

    A manager remembers the rejection, so that it sends a wrong password once, not on every request.

    Attributes:
        credential: A keyed digest of the rejected credential, by which the manager recognises it; ``None``: unknown.
        may_change: Whether the credential comes from a callable, which may return another one next time.
        unsent: Whether it was not sent this time, because it was rejected before.
        declared: Whether the provider's `ErrorFields` declare that such an answer is a rejection.
        elsewhere: Whether the rejection is known only from the shared store: another process received it, and the
            server's message is unknown.
    """

    credential: str | None = None
    may_change: bool = False
    unsent: bool = False
    declared: bool = False
    elsewhere: bool = False


class TokenEndpointUnavailable(AuthError):
    """The token endpoint could not be reached, took too long, or said that it cannot answer now (5xx, 429)."""

    transient = True


class InvalidTokenResponse(AuthError):
    """The token endpoint's answer is unusable: it is unreadable, or a field is missing or has an impossible value.

    Attributes:
        quoted: The part of the answer that the message quotes; ``None``: it quotes nothing.
        expired: Whether the only problem is that the token had expired when it arrived.
    """

    quoted: str | None = None
    expired: bool = False

    @classmethod
    def quoting(cls, message: str, quoted: str, *, advice: str = "") -> Self:
        """Return an error whose message contains ``quoted``, a part of the answer."""
        error = cls(message, advice=advice)
        error.quoted = quoted
        return error


class InsecureTransport(AuthError):
    """A token or credential would have been sent unencrypted: ``http`` to a host other than this machine."""


class ConfigurationError(AuthError):
    """An argument, or a combination of arguments, is wrong. The message says what to write instead."""


class StoreError(AuthError):
    """A shared store failed for as long as a caller could wait, and no token is available without it.

    Raised for a store with ``strict=True``, and for a provider whose only credential is a rotating refresh token.
    """

    transient = True


class LockTimeout(StoreError):
    """Another process held the store's lock for longer than a refresh may wait."""


class ManagerClosed(AuthError):
    """The manager was closed. To reopen it, enter it again (``async with manager:``)."""
