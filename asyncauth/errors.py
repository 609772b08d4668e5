"""Everything that can go wrong, under one root.

::

    aiohttp.ClientError
     └─ AuthError                       no token could be had, or it may not be used
         ├─ CredentialsRejected         permanent: the server rejected the credential
         ├─ TokenEndpointUnavailable    transient: network, timeout, 5xx, 429
         ├─ InvalidTokenResponse        the answer can't be used: unreadable, or without a token that lives
         ├─ InsecureTransport           plain http to a host that is not this machine
         ├─ ConfigurationError          an argument that can't work
         ├─ StoreError                  trouble with a shared store
         │   └─ LockTimeout             another process held the store's lock for too long
         └─ ManagerClosed               the manager was closed before a token could be had

The root is an ``aiohttp.ClientError``, so code that already handles what a session can raise handles these too.
No error holds a secret: neither in its message, nor in a field, nor in its chain. Its text (``str``) is one line
without control characters, whatever a provider calls itself.
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
    """No usable token could be had.

    Attributes:
        message: What is wrong and what to do, without the place.
        provider: The provider's name (``"peakly"``), if one was involved.
        step: The provider's own name of the request that failed (``"createToken"``), if one did.
        endpoint: The token endpoint's URL without user, query and fragment, if one was asked.
        status: The HTTP status it answered, if it answered.
        error: The server's error code (RFC 6749 §5.2), if it sent one.
        error_description: The server's own short message, bounded and cleaned, if it sent one.
        retry_after: Seconds from when the error was raised until another try makes sense, if known.
        upstream: Whether the failure is that of another manager, which supplies this one's credential.
        transient: Whether a retry with the same arguments can succeed (a class attribute).
    """

    transient: ClassVar[bool] = False

    def __init__(
        self,
        message: str = "",
        *,
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
        self.provider = provider
        self.step = step
        self.endpoint = endpoint
        self.status = status
        self.error = error
        self.error_description = error_description
        self.retry_after = retry_after
        self.upstream = False

    def __str__(self) -> str:
        place = " ".join(name_of(part) for part in (self.provider, self.step) if part)
        answer = "" if self.status is None else f"status {self.status}"
        where = ", ".join(part for part in (self.endpoint, answer) if part)
        said = ": ".join(part for part in (self.error, self.error_description) if part)
        text = f"{self.message} (the server says: {said})" if said else self.message
        prefix = f"{place} ({where})" if place and where else place or where
        # Anybody's names and messages may be in it, and it is written into logs as one line.
        return printable(f"{prefix}: {text}" if prefix else text)

    def again(self) -> Self:
        """Return a new error of the same class with the same message and fields, and no cause or traceback.

        Callers that share one failed refresh each get one of their own: an exception object raised in several
        tasks would collect all their tracebacks.
        """
        twin = type(self).__new__(type(self), *self.args)
        twin.args = self.args
        twin.__dict__.update(self.__dict__)
        return twin


class CredentialsRejected(AuthError):
    """The server rejected the credential: a retry with the same one would be refused as well.

    A manager remembers the refusal, so that a wrong password is tried once, not once per request.

    Attributes:
        credential: A keyed digest of what was refused, by which the manager knows it again; ``None`` = unknown.
        may_change: Whether the credential comes from a callable, which may give another one next time.
        unsent: Whether it was not sent this time: it is known to be the one that was refused before.
        declared: Whether the provider declares that such an answer means it (`ErrorFields`).
        elsewhere: Whether it is known from a shared store alone: another process had it rejected, and what the server
            said is not known.
    """

    credential: str | None = None
    may_change: bool = False
    unsent: bool = False
    declared: bool = False
    elsewhere: bool = False


class TokenEndpointUnavailable(AuthError):
    """The token endpoint could not be reached, took too long, or said that it can't answer now (5xx, 429)."""

    transient = True


class InvalidTokenResponse(AuthError):
    """The token endpoint's answer can't be used: it is unreadable, or a field is missing or absurd.

    Attributes:
        quoted: What the message quotes of the answer, if it quotes something.
        expired: Whether all that is wrong with it is that its token has no time left to live.
    """

    quoted: str | None = None
    expired: bool = False

    @classmethod
    def quoting(cls, message: str, quoted: str) -> Self:
        """Return an error whose message quotes the answer somewhere."""
        error = cls(message)
        error.quoted = quoted
        return error


class InsecureTransport(AuthError):
    """A token or a credential would have travelled in the clear: ``http`` to a host that is not this machine."""


class ConfigurationError(AuthError):
    """An argument, or a combination of them, that can't work. The message says what to write instead."""


class StoreError(AuthError):
    """A shared token store failed for as long as a caller could wait, and nothing can be had without it.

    That is so for a store with ``strict=True``, and for a provider whose only credential is a rotating refresh token.
    """

    transient = True


class LockTimeout(StoreError):
    """Another process held the store's lock for longer than a refresh may wait."""


class ManagerClosed(AuthError):
    """The manager was closed. Entering it again (``async with manager:``) reopens it."""
