"""Counts that only grow until they are reset, and a log of requests without secrets."""

from __future__ import annotations

from collections import Counter, deque
from http import HTTPStatus

import attrs

from asyncauth.sandbox.details import Details

_NO_DETAILS = Details()


@attrs.frozen
class Record:
    """One request that a system received, without query, body or secret.

    Attributes:
        time: When it arrived, in Unix epoch seconds by this machine's clock (without skew).
        system: ``"peakly"`` or ``"pago_facil"``.
        kind: ``"token"`` or ``"api"``.
        method: The HTTP method.
        path: The path without the query, at most 200 characters.
        status: The status of the answer; ``None``: no answer was sent (hung up, aborted, client gone).
        step: The token step (``"password"``, ``"loginToken"``, …); ``None``: an API request.
        seconds: How long the answer took.
        details: What the request contained, and why it was rejected.
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
    """The latest requests, oldest first, up to a maximum, and the number of all requests.

    Attributes:
        total: How many requests were logged since the start.
        cleared: How many times it was emptied.
    """

    def __init__(self, size: int) -> None:
        super().__init__(maxlen=size)
        self.total = 0
        self.cleared = 0

    def append(self, record: Record, /) -> None:
        """Log a request. If the log is full, the oldest is removed."""
        self.total += 1
        super().append(record)

    def clear(self) -> None:
        """Remove all requests, but keep their total."""
        self.cleared += 1
        super().clear()

    def since(self, total: int) -> list[Record]:
        """Return the requests after the first ``total`` ones that are still in the log."""
        records, new = list(self), self.total - total
        return records[-new:] if new > 0 else []


@attrs.define
class Counts:
    """Counts of one system since its start or the last reset.

    Attributes:
        token_requests: Requests to the token endpoints, with rejected and failed ones.
        by_step: The same, by step.
        tokens_issued: Access tokens and JWTs issued.
        token_peak: The most token requests in progress at the same time.
        refresh_reuse: Refresh tokens that were sent again after their rotation.
        api_requests: Requests to the protected API.
        api_ok: API requests answered with 200.
        api_refused: API requests answered with 401.
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
        """Count a token request of this step; ``under_way`` requests are in progress, including this one."""
        self.token_requests += 1
        self.by_step[step] += 1
        self.token_peak = max(self.token_peak, under_way)

    def api_answer(self, status: int | None) -> None:
        """Count the status that an API request was answered with."""
        if status == HTTPStatus.OK:
            self.api_ok += 1
        elif status == HTTPStatus.UNAUTHORIZED:
            self.api_refused += 1
