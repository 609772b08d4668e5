"""What happened: counts that only grow until they are reset, and a log of requests without secrets."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus

import attrs


@attrs.frozen
class Record:
    """One request that a system served. No query, header or body is in it.

    Attributes:
        time: When it arrived, Unix epoch seconds by this machine's clock (no skew).
        system: ``"peakly"`` or ``"pago_facil"``.
        kind: ``"token"`` or ``"api"``.
        method: The HTTP method.
        path: The path without the query, cut at 200 characters.
        status: The status answered; None if no answer was sent (hung up, aborted, client gone).
        step: The token step (``"password"``, ``"loginToken"``…), None for API requests.
        seconds: How long the answer took.
    """

    time: float
    system: str
    kind: str
    method: str
    path: str
    status: int | None
    step: str | None
    seconds: float


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
