"""One try of a refresh: what the refresh tells the provider that it asks, and what the provider tells in return."""

from __future__ import annotations

from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import attrs

from asyncauth import expiry
from asyncauth._http.trouble import LATE
from asyncauth.clock import SYSTEM_CLOCK, Clock
from asyncauth.errors import CredentialsRejected, TokenEndpointUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from asyncauth.errors import AuthError

__all__ = ["SentCredential", "TryState", "current_try", "set_try"]


class SentCredential(NamedTuple):
    """What is remembered of the credential of a token request.

    Attributes:
        digest: Its keyed digest in this process; ``None``: it is unknown, or managers supplied all of it.
        mark: What a shared store may know it by; ``None``: there is no store, or nothing to be known.
        may_change: Whether asking for it again may bring another one, with no manager behind it.
    """

    digest: str | None = None
    mark: str | None = None
    may_change: bool = False


_NONE_SENT = SentCredential()

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@attrs.define(eq=False)
class TryState:
    """One try of a refresh.

    Attributes:
        clock: The manager's.
        sent_at: When the last token request was sent, in seconds of ``clock.monotonic()``; ``None``: none was.
        credential_rejected: A remembered rejection: if the same credential would be sent again, this is raised instead.
        headers: The headers of the server's last answer; empty: none came.
        annotate: Adds to an error what it does not say yet of the endpoint that is asked; ``None``: none was.
        unanswered: Whether the last token request may have reached the server and no answer came that can be read.
        spends_refresh_token: Whether that request sent the previous token's refresh token, and there is another way
            to a token: unanswered, it must not be sent again.
        refresh_token_lost: Whether an earlier request of this try was such a one, and stayed unanswered.
        refresh_token_rejected: Whether the server rejected that refresh token: it is of no more use.
        mark_of: Makes of a credential what a shared store may know it by; ``None``: there is no store.
        rejected: Marks: other processes had these credentials rejected, and they are not sent either.
        mark: The mark of the credential that was rejected last, here or elsewhere.
        offered: The mark of the credential that was sent last.
        sent: The credential that was sent last, as `RequestContext.sending` noted it.
        without_token: The digests of the credentials that were sent and answered without a token, in turn, as far as
            the library's endpoint asked or `RequestContext` was told. A busy server's answers are not among them.
        release: Gives a shared store's lock back before the end, if one is held: a provider calls it before it waits
            for a person. ``None``: no lock is held.
    """

    clock: Clock = SYSTEM_CLOCK
    sent_at: float | None = None
    credential_rejected: CredentialsRejected | None = None
    headers: Mapping[str, str] = attrs.field(default=_NO_HEADERS, repr=False)  # one may be a token
    annotate: Callable[[AuthError], AuthError] | None = None
    unanswered: bool = False
    spends_refresh_token: bool = False
    refresh_token_lost: bool = False
    refresh_token_rejected: bool = False
    mark_of: Callable[[str], str] | None = None
    rejected: frozenset[str] = frozenset()
    mark: str | None = None
    offered: str | None = None
    sent: SentCredential = _NONE_SENT
    without_token: list[str | None] = attrs.field(factory=list[str | None])
    release: Callable[[], Awaitable[None]] | None = None

    @property
    def server_now(self) -> float | None:
        """The server's clock when it answered last, in Unix epoch seconds; ``None``: it sent no ``Date``."""
        return expiry.server_now(self.headers.get("Date"), self.headers.get("Age"))

    @property
    def dpop_nonce(self) -> str | None:
        """The ``DPoP-Nonce`` header of the server's last answer (RFC 9449 §8), if it had one."""
        return self.headers.get("DPoP-Nonce")

    def known_rejection(self, credential: SentCredential, names: str) -> CredentialsRejected | None:
        """Return the rejection of a credential that must not be sent now; ``None``: it may be.

        This process remembers it, or the store has it from another one.

        Args:
            credential: What is about to be sent.
            names: What it is called, for the error.
        """
        rejected, self.mark, self.offered = self.credential_rejected, None, credential.mark
        if rejected is not None and rejected.credential is not None and rejected.credential == credential.digest:
            known = rejected.again()
        elif credential.mark in self.rejected:
            known = CredentialsRejected(f"the server rejected the {names} that another process sent", advice="check it")
            known.credential, known.may_change, known.elsewhere = credential.digest, credential.may_change, True
            self.mark = credential.mark
        else:
            return None
        known.unsent = True
        return known

    @property
    def refresh_token_unanswered(self) -> bool:
        """Whether a request of this try may have used up the refresh token, and there is another way to a token."""
        return self.refresh_token_lost or (self.spends_refresh_token and self.unanswered)

    def counted(self, error: AuthError) -> tuple[str | None, ...]:
        """Return the credentials whose answers without a token are counted, for the try that failed with an error.

        A provider that tells nothing of its requests has sent one, unless the failure says that it has not.
        """
        told = self.without_token or self.annotate is not None
        unsent = error.transient or error.upstream or (isinstance(error, CredentialsRejected) and error.unsent)
        return tuple(self.without_token) if told or unsent else (self.sent.digest,)

    @property
    def may_have_sent(self) -> bool:
        """Whether a request was sent, as far as the library's endpoint or the provider has told."""
        return self.annotate is None or self.sent_at is not None

    def no_answer_in_time(self) -> TokenEndpointUnavailable:
        """Return the error of a try whose time was over."""
        if not self.may_have_sent:
            return TokenEndpointUnavailable(
                "the credential could not be obtained in time: nothing was sent",
                advice="look at what supplies it, such as a vault",
            )
        return TokenEndpointUnavailable(LATE.says, advice=LATE.do)

    def note_sent(self) -> None:
        """Note that a token request is sent now, and was not answered yet."""
        self.sent_at, self.unanswered, self.headers = self.clock.monotonic(), True, _NO_HEADERS

    def note_rejected(self, error: CredentialsRejected, credential: SentCredential) -> None:
        """Note that the server rejected a credential, and tell the error by what it is known."""
        error.credential, error.may_change = credential.digest, credential.may_change
        self.mark = credential.mark


_current: ContextVar[TryState] = ContextVar("asyncauth_try")


def set_try(state: TryState) -> None:
    """Make this the running task's try. It travels beside ``Provider.fetch``."""
    _current.set(state)


def current_try() -> TryState:
    """Return the running task's try; a new one where a provider is asked without a manager."""
    state = _current.get(None)
    if state is None:
        state = TryState()
        _current.set(state)
    return state
