"""The part of a try that users' own providers see: methods for what the library's endpoint writes into `TryState`."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from asyncauth._core.try_state import SentCredential, current_try
from asyncauth.errors import ConfigurationError, CredentialsRejected
from asyncauth.token import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asyncauth.clock import Clock

__all__ = ["RequestContext", "current_request_context"]

_BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
"""Statuses of the 4xx that say nothing of the request."""


class RequestContext:
    """What a provider of your own tells its manager about its token requests, and learns from it.

    `current_request_context` returns it. All of it is optional: a provider that uses none of it works, too. With it

    - the token's lifetime counts from when the request was sent, not from when `Provider.fetch` was called;
    - an expiry that the server states as a date is read by the server's clock;
    - a credential that the server rejected is sent once per `RefreshPolicy.rejection_cooldown`; with a shared store,
      once by all processes together;
    - a refresh token that may have been used up is not sent again.

    A provider calls `sending` right before each token request, and `answered` when it has the answer's status and
    headers. If the server does not accept the credential, it raises what `rejected` returns::

        async def fetch(self, http, previous):
            context, secret = current_request_context(), self.secret
            context.sending(secret)
            async with http.post(URL, json={"secret": secret}, allow_redirects=False) as answer:
                context.answered(answer.status, answer.headers)
                if answer.status == 401:
                    raise context.rejected("check the secret", status=answer.status)
                ...

    It keeps a keyed digest of a credential, never the credential.

    Concurrency: it belongs to one call of `Provider.fetch`, with the tasks that this call starts. It is not meant for
    two token requests at the same time.
    """

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state = current_try()

    @property
    def clock(self) -> Clock:
        """The manager's clock, for a provider that has to wait: in tests it may be a `FakeClock`."""
        return self._state.clock

    @property
    def server_now(self) -> float:
        """The server's clock at its last answer, in Unix epoch seconds.

        By the answer's ``Date`` and ``Age`` headers (RFC 9110 §6.6.1, RFC 9111 §5.1). Without a ``Date`` that can be
        read, it is this machine's clock when the request was sent. For a token whose expiry is a date, write
        ``Token(value, issued_at=context.server_now, expires_at=date)``: only the difference counts.
        """
        state = self._state
        server_now = state.server_now
        if server_now is not None:
            return server_now
        now = state.clock.monotonic()
        return state.clock.wall() - (now - (now if state.sent_at is None else state.sent_at))

    def sending(self, *credentials: str, refresh_token: bool = False, may_change: bool = False) -> None:
        """Say that a token request is sent now. Call it right before each one.

        The token's lifetime counts from the last call.

        Args:
            *credentials: The secrets in this request by which the server knows the account, in the same order each
                time. None (default): a rejection counts for whatever is sent next.
            refresh_token: Whether the request carries the refresh token of ``previous``. If no answer comes, that
                token counts as used up: ``previous`` has none in the next call. Only with ``needs_lock``, where there
                is no other way to a token, is it sent once more. Default ``False``.
            may_change: Whether the credentials are obtained anew for each request, from a file or a secrets manager,
                say. A rejected one is then looked at again once per `RefreshPolicy.rejection_cooldown`, and another
                one is sent at once. Default ``False``: `Provider.fetch` is not called before the cool-down is over.

        Raises:
            CredentialsRejected: The server rejected these credentials a moment ago, here or in another process with
                the same store. Let it pass: nothing must be sent.
            ConfigurationError: A credential is not a ``str``.
        """
        problem: ConfigurationError | CredentialsRejected | None
        if all(isinstance(each, str) for each in credentials):
            sent = _digested(credentials, self._state.mark_of, may_change=may_change)
            problem = self._state.known_rejection(sent, "credential")
            if problem is None:
                state = self._state
                state.refresh_token_lost = state.refresh_token_unanswered  # a further request does not bring it back
                state.sent, state.spends_refresh_token = sent, refresh_token
                state.note_sent()
                return
        else:
            kind = next(type(each).__name__ for each in credentials if not isinstance(each, str))
            problem = ConfigurationError(f"sending() takes credentials of type str, not {kind}")
        del credentials  # the error's frames show no secret
        raise problem

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Say that the server answered the last token request.

        A status other than 2xx means that a refresh token in the request is still good, unless
        `refresh_token_rejected` says otherwise. After a 2xx the refresh token counts as used up, even if
        `Provider.fetch` can't read the answer's body.

        Args:
            status: The answer's HTTP status.
            headers: Its headers, in a mapping that ignores case, as aiohttp's does.
        """
        self._state.unanswered = 200 <= status < 300  # noqa: PLR2004
        if 300 <= status < 500 and status not in _BUSY:  # noqa: PLR2004
            self._state.without_token.append(self._state.sent.digest)
        self._state.headers = headers

    def not_sent(self) -> None:
        """Say that the last token request never reached the server, so that its refresh token is still good.

        Only where that is certain: ``aiohttp.ClientConnectorError`` is, a timeout is not.
        """
        self._state.unanswered = False

    def rejected(
        self,
        message: str,
        *,
        advice: str = "",
        status: int | None = None,
        error: str | None = None,
        error_description: str | None = None,
    ) -> CredentialsRejected:
        """Return the error to raise when the server rejected the credentials that `sending` was told.

        The manager remembers them by it, and shares that through the store.

        Args:
            message: What is wrong. No secrets.
            advice: What to do; ``""`` (default): the message says it.
            status: The answer's HTTP status; ``None`` (default): it is not shown.
            error: The server's error code; ``None`` (default): it has none.
            error_description: The server's own message. It must not repeat a secret. ``None`` (default): none.
        """
        problem = CredentialsRejected(
            message, advice=advice, status=status, error=error, error_description=error_description
        )
        self._state.note_rejected(problem, self._state.sent)
        return problem

    def refresh_token_rejected(self) -> None:
        """Say that the server rejected the refresh token of ``previous``, which is not sent again.

        Then go on in the same call of `Provider.fetch` with the primary grant.
        """
        self._state.refresh_token_rejected = True

    async def release_lock(self) -> None:
        """Give a shared store's lock back early. Does nothing where none is held.

        For a provider that waits for a person: other processes would wait with it.
        """
        if self._state.release is not None:
            await self._state.release()


def _digested(
    credentials: tuple[str, ...], mark_of: Callable[[str], str] | None, *, may_change: bool
) -> SentCredential:
    """Return what is remembered of credentials; nothing of none."""
    if not credentials:
        return SentCredential(may_change=may_change)
    joined = "\0".join(credentials)
    return SentCredential(digest(joined), None if mark_of is None else mark_of(joined), may_change)


def current_request_context() -> RequestContext:
    """Return the `RequestContext` of the running `Provider.fetch`.

    Outside of a refresh, where a provider is called by hand, it is one that no manager reads: nothing was rejected
    before, and nothing is remembered for later.
    """
    return RequestContext()
