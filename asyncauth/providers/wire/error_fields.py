"""The user's declaration of how an API reports failures."""

from __future__ import annotations

import math
from collections.abc import Iterable

import attrs

from asyncauth import expiry
from asyncauth.errors import ConfigurationError
from asyncauth.providers.wire.cases import Cases, CasesLike
from asyncauth.providers.wire.classify import Answer, Hook, Kind, Verdict, rejects
from asyncauth.providers.wire.path import Path

__all__ = ["ErrorFields", "ErrorRules", "refusal_hook"]

_LEAST_STATUS = 400


@attrs.frozen
class ErrorRules:
    """Applies `ErrorFields` to answers."""

    message: tuple[Path, ...]
    rejected: Cases
    busy: Cases
    failed: Cases
    succeeded: Cases
    retry_after: Path | float | None
    refusals: Hook | None

    @property
    def hook(self) -> Hook | None:
        """The provider's override of a verdict; ``None``: it has none."""
        cases = self.busy or self.rejected or self.failed or self.succeeded
        return self.verdict if cases or self.retry_after is not None else self.refusals

    def verdict(self, answer: Answer, verdict: Verdict) -> Verdict:
        """Return the meaning of an answer (a `Hook`)."""
        if self._has(self.busy, answer):
            return self._paused(answer, Verdict(Kind.BUSY, answer.asked_pause))
        if self._has(self.rejected, answer):
            return Verdict(Kind.REJECTED, declared=True)
        if verdict.kind is Kind.BUSY:
            return self._paused(answer, verdict)
        succeeded = self._has(self.succeeded, answer)
        if self._has(self.failed, answer) or (answer.is_success and self.succeeded and not succeeded):
            return Verdict(Kind.UNREADABLE if self.rejected else Kind.REJECTED)
        if answer.is_success and succeeded and answer.fields is not None:
            return Verdict(Kind.SUCCESS)
        return verdict if self.refusals is None else self.refusals(answer, verdict)

    def said(self, answer: Answer) -> str | None:
        """Return the server's message from its declared place; ``None``: there is none."""
        texts = (path.find(answer.document, answer.headers) for path in self.message)
        return next((text for text in texts if isinstance(text, str) and text.strip()), None)

    @staticmethod
    def _has(cases: Cases, answer: Answer) -> bool:
        return cases.match(answer.document, answer.headers)

    def _paused(self, answer: Answer, busy: Verdict) -> Verdict:
        """Return a busy server's verdict, with the declared pause if the answer has none."""
        if busy.retry_after is not None or self.retry_after is None:
            return busy
        if not isinstance(self.retry_after, Path):
            return Verdict(Kind.BUSY, self.retry_after)
        told = self.retry_after.find(answer.document, answer.headers)
        return Verdict(Kind.BUSY, expiry.seconds_until(told, answer.server_now))


def _compiled(fields: ErrorFields) -> ErrorRules:
    return ErrorRules(
        _paths(fields.message),
        Cases.of(fields.rejected, "rejected"),
        Cases.of(fields.busy, "busy"),
        Cases.of(fields.failed, "failed"),
        Cases.of(fields.succeeded, "succeeded"),
        _pause(fields.retry_after),
        None if fields.refusals is None else refusal_hook(fields.refusals),
    )


@attrs.frozen(kw_only=True)
class ErrorFields:
    """How an API reports failures, if the common rules misread it.

    ::

        ErrorFields(succeeded={"status": 0}, busy={"status": (601, 2555)}, message="error")

    A declaration applies to answers of every status, such as a rejection inside a 200, or a rate limit reported as 403.

    ``rejected``, ``busy``, ``failed`` and ``succeeded`` each take error codes or a mapping. Error codes
    (``"ratelimited"``, ``(4001, 4002)``) are looked for where servers write them (``error``, ``code``, ``errcode``,
    ``errors[0].code`` …). A mapping has paths and values (``{"status": 601}``, ``{"error.message": "TOO_MANY_*"}``).
    Values are compared as texts: ``0`` equals ``"0"``, ``False`` equals ``"false"``, ``None`` stands for ``null``,
    empty or missing. ``*`` stands for any text. For paths, see `AnswerFields`.

    Args:
        message: The path of the server's message, or several. Default: the usual places are searched.
        rejected: What means that the credential was rejected: `CredentialsRejected`. For a `RefreshGrant`, it makes the
            refresh token useless, like ``invalid_grant``. ``None`` (default): nothing.
        busy: What means that the server can't answer now: `TokenEndpointUnavailable`. It is asked again after a pause.
            ``None`` (default): nothing.
        failed: What means that the request failed. If neither ``busy`` nor ``rejected`` matches, the credential was
            rejected; but if ``rejected`` is given, the answer is unreadable: `InvalidTokenResponse`. ``None``
            (default): nothing.
        succeeded: What every successful answer has. An answer with a success status (2xx) that does not have it counts
            as failed, see ``failed``. ``None`` (default): nothing.
        retry_after: The path of a busy answer's wait, in seconds or as Unix epoch seconds; or the seconds to wait after
            a busy answer without one. ``Retry-After`` and similar fields are read in any case. ``None`` (default): no
            path.
        refusals: The statuses that mean that the credential was rejected; any other 4xx is then unreadable. ``None``
            (default): 401, and other 4xx with a JSON object; for a `DeclaredProvider` 400, 401 and 403.

    Raises:
        ConfigurationError: An argument is wrong; the message says which.
    """

    message: str | Iterable[str] = ()
    rejected: CasesLike = None
    busy: CasesLike = None
    failed: CasesLike = None
    succeeded: CasesLike = None
    retry_after: str | float | None = None
    refusals: Iterable[int] | None = None
    rules: ErrorRules = attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(_compiled, takes_self=True))


def _paths(message: str | Iterable[str]) -> tuple[Path, ...]:
    if not isinstance(message, Iterable):
        raise ConfigurationError("message takes a path, or several")
    return tuple(Path.of(each, "message") for each in ((message,) if isinstance(message, str) else message))


def _pause(retry_after: str | float | None) -> Path | float | None:
    if retry_after is None:
        return None
    if isinstance(retry_after, str):
        return Path.of(retry_after, "retry_after")
    number = isinstance(retry_after, int | float) and not isinstance(retry_after, bool)
    if not number or not 0 < retry_after < math.inf:
        raise ConfigurationError("retry_after takes a path, or a positive number of seconds")
    return float(retry_after)


def refusal_hook(statuses: Iterable[int]) -> Hook:
    """Return the hook for a ``refusals=``.

    Raises:
        ConfigurationError: It contains something other than error statuses.
    """
    each = tuple(statuses) if isinstance(statuses, Iterable) else None
    if each is None or not all(isinstance(status, int) and status >= _LEAST_STATUS for status in each):
        raise ConfigurationError("refusals takes HTTP statuses from 400 up, such as (401, 403)")
    return rejects(*each)
