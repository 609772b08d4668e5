"""How one system answers: what Peakly and Pago Fácil share, without the port that they listen on."""

from __future__ import annotations

import abc
import time
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import attrs

from asyncauth.sandbox.counts import Counts
from asyncauth.sandbox.details import Note
from asyncauth.sandbox.faults import KINDS, TOKEN_ONLY
from asyncauth.sandbox.ledger import Ledger
from asyncauth.sandbox.plan import FaultPlan
from asyncauth.sandbox.settings import SystemSettings
from asyncauth.sandbox.wire import Moment, bearer, http_date, json_answer, same_text

if TYPE_CHECKING:
    from aiohttp import web

    from asyncauth.sandbox.details import Why

S = TypeVar("S", bound=SystemSettings)


@attrs.frozen
class Call:
    """One request to a token endpoint, read and not yet answered.

    Attributes:
        step: The requested step.
        fields: The body's fields; none if the body was unreadable.
        bearer: The Bearer token of its ``Authorization`` header.
        note: What is recorded about it.
    """

    step: str
    fields: dict[str, object] = attrs.field(factory=dict[str, object], repr=False)
    bearer: str | None = attrs.field(default=None, repr=False)
    note: Note = attrs.field(factory=Note, repr=False)


class Behaviour(abc.ABC, Generic[S]):
    """One or more token endpoints, and a protected API.

    Attributes:
        settings: The settings.
        token_faults: Faults for requests to the token endpoints.
        api_faults: Faults for requests to the protected API.
        counts: The counts.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    """Its name, as shown to people."""
    steps: ClassVar[frozenset[str]]
    """The names that `revoke` accepts: the kinds of tokens."""
    requests: ClassVar[tuple[str, ...]]
    """The names of its token requests, for a fault of one of them."""

    def __init__(self, settings: S) -> None:
        self.settings: S = settings
        self.token_faults = FaultPlan()
        self.api_faults = FaultPlan(kinds=KINDS - TOKEN_ONLY)
        self.counts = Counts()
        self._ledger = Ledger()

    def moment(self) -> Moment:
        """Return the current time on both of the server's clocks."""
        return Moment(wall=time.time() + self.settings.clock_skew, monotonic=time.monotonic())

    def stamp(self, response: web.StreamResponse) -> None:
        """Add the server's date to an answer without one."""
        if "Date" not in response.headers:
            response.headers["Date"] = http_date(time.time() + self.settings.clock_skew)

    def objection(self, request: web.Request) -> Why | None:
        """Return a code for why the API does not accept the request's token; ``None``: it does."""
        authorization = request.headers.get("Authorization")
        value = bearer(authorization)
        if value is None:
            return "no_token" if authorization is None else "no_bearer"
        return self._ledger.why_not(value, self.api_kinds(), time.monotonic())

    def login_objection(self, username: object, password: object) -> Why | None:
        """Return a code for why the system rejects this login; ``None``: it accepts it."""
        if self.settings.accept_any_username:
            known = isinstance(username, str) and bool(username)
        else:
            known = same_text(username, self.settings.username)
        right = same_text(password, self.settings.password)
        return None if known and right else "wrong_password" if known else "wrong_username"

    def denial(self) -> web.Response:
        """Return the API's 401, with the challenge and the size in the settings."""
        body: dict[str, object] = {"message": self.denied}
        if self.settings.big_refusal:
            body["padding"] = "x" * self.settings.big_refusal
        challenge = self.settings.www_authenticate
        headers = {} if challenge is None else {"WWW-Authenticate": challenge}
        return json_answer(body, 401, content_type=self.json_type, headers=headers)

    denied: ClassVar[str]
    """The message of the API's 401."""
    json_type: ClassVar[str]
    """The ``Content-Type`` of its JSON."""

    @abc.abstractmethod
    def api_kinds(self) -> frozenset[str]:
        """Return the kinds of tokens that the API accepts."""

    @abc.abstractmethod
    async def read_call(self, request: web.Request) -> Call | None:
        """Return a request to a token endpoint, read; ``None``: it is for the API."""

    @abc.abstractmethod
    def grant(self, call: Call, now: Moment) -> web.Response:
        """Answer a token request as the system does: with a token, or with a rejection in its words."""

    @abc.abstractmethod
    def refusal(self, call: Call) -> web.Response:
        """Return the endpoint's rejection of this token request's credential."""
