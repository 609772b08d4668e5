"""What happened: counts that only grow until they are reset, and a log of requests without secrets."""

from __future__ import annotations

from collections import Counter, deque
from http import HTTPStatus

import attrs

from asyncauth.sandbox.details import Details

_NO_DETAILS = Details()


@attrs.frozen
class Record:
    """One request that a system served. No query, body or secret is in it.

    Attributes:
        time: When it arrived, Unix epoch seconds by this machine's clock (no skew).
        system: ``"peakly"`` or ``"pago_facil"``.
        kind: ``"token"`` or ``"api"``.
        method: The HTTP method.
        path: The path without the query, cut at 200 characters.
        status: The status answered; None if no answer was sent (hung up, aborted, client gone).
        step: The token step (``"password"``, ``"loginToken"``…), None for API requests.
        seconds: How long the answer took.
        details: What it brought, and why it was refused.
    """

    time: float
    system: str
    kind: str
    method: str
    path: str
    status: int | None
    step: str | None
    seconds: float
    details: Details = _NO_DETAILS


class RequestLog(deque[Record]):
    """The last requests, oldest first, so many at most; it knows how many there ever were.

    Attributes:
        total: How many requests were logged since the start.
        cleared: How many times it was emptied.
    """

    def __init__(self, size: int) -> None:
        super().__init__(maxlen=size)
        self.total = 0
        self.cleared = 0

    def append(self, record: Record, /) -> None:
        """Log a request; the oldest makes room."""
        self.total += 1
        super().append(record)

    def clear(self) -> None:
        """Forget all requests, not how many there were."""
        self.cleared += 1
        super().clear()

    def since(self, total: int) -> list[Record]:
        """Return the requests after the first ``total`` ones, as far as they are still here."""
        records, new = list(self), self.total - total
        return records[-new:] if new > 0 else []


@attrs.define
class Counts:
    """Counts of one system since its start or the last reset.

    Attributes:
        token_requests: Requests to the token endpoints, refused and failed ones included.
        by_step: The same, by step.
        tokens_issued: Access tokens and JWTs handed out.
        token_peak: The most token requests under way at the same time.
        refresh_reuse: Refresh tokens presented again after they were rotated.
        api_requests: Requests to the protected API.
        api_ok: Those answered 200.
        api_refused: Those answered 401.
    """

    token_requests: int = 0
    by_step: Counter[str] = attrs.field(factory=Counter[str])
    tokens_issued: int = 0
    token_peak: int = 0
    refresh_reuse: int = 0
    api_requests: int = 0
    api_ok: int = 0
    api_refused: int = 0

    def token_request(self, step: str, under_way: int) -> None:
        """Count a token request of this step, with so many under way, itself included."""
        self.token_requests += 1
        self.by_step[step] += 1
        self.token_peak = max(self.token_peak, under_way)

    def api_answer(self, status: int | None) -> None:
        """Count the status that an API request was answered with."""
        if status == HTTPStatus.OK:
            self.api_ok += 1
        elif status == HTTPStatus.UNAUTHORIZED:
            self.api_refused += 1
