"""Peakly: ``POST /token`` as an OWIN OAuth server answers it, and an API that accepts its tokens."""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qsl

from asyncauth.sandbox.api import expected
from asyncauth.sandbox.behaviour import Call
from asyncauth.sandbox.ledger import Use
from asyncauth.sandbox.settings import PeaklySettings
from asyncauth.sandbox.system import System
from asyncauth.sandbox.wire import JSON_OWIN, fingerprint, http_date, json_answer, number

if TYPE_CHECKING:
    from aiohttp import web

    from asyncauth.sandbox.wire import Moment

_FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 100
_NO_STORE = {"Cache-Control": "no-cache", "Pragma": "no-cache", "Expires": "-1"}
_WRONG = "Usuario/Contraseña invalidos"
_ACCESS = "access_token"
_REFRESH = "refresh_token"


class PeaklySandbox(System[PeaklySettings]):
    """Peakly on a separate port.

    ``POST /token`` accepts a form with ``grant_type=password`` (step ``"password"``) and, if
    ``settings.refresh_tokens`` is on, ``grant_type=refresh_token`` (step ``"refresh_token"``). Any other request to it
    is step ``"unsupported"``. Every other path is the protected API.
    """

    name: ClassVar[str] = "peakly"
    title: ClassVar[str] = "Peakly"
    steps: ClassVar[frozenset[str]] = frozenset({_ACCESS, _REFRESH})
    requests: ClassVar[tuple[str, ...]] = ("password", _REFRESH)
    denied: ClassVar[str] = "Authorization has been denied for this request."
    json_type: ClassVar[str] = JSON_OWIN

    def api_kinds(self) -> frozenset[str]:
        """Return the kinds of tokens that the API accepts: access tokens."""
        return frozenset({_ACCESS})

    async def read_call(self, request: web.Request) -> Call | None:
        """Return ``POST /token``, read. Anything but a form counts as one without fields."""
        if request.method != "POST" or request.path != "/token":
            return None
        await expected(request)
        fields: dict[str, object] = {}
        body = await request.read()
        if request.content_type == _FORM:
            try:
                fields.update(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
            except ValueError:  # not UTF-8, or too many fields
                fields.clear()
        grant = fields.get("grant_type")
        if grant == "password" or (grant == _REFRESH and self.settings.refresh_tokens):
            return Call(step=str(grant), fields=fields)
        return Call(step="unsupported", fields=fields)

    def grant(self, call: Call, now: Moment) -> web.Response:
        """Answer with a token, or reject the password, the refresh token or the grant type."""
        if call.step == "password":
            call.note.why = self.login_objection(call.fields.get("username"), call.fields.get("password"))
            family = secrets.token_hex(8) if call.note.why is None else None
        elif call.step == _REFRESH:
            family = self._family(call, now)
        else:
            call.note.why = "unsupported_grant" if call.fields else "no_form"
            return self._answer({"error": "unsupported_grant_type"}, 400)
        return self.refusal(call) if family is None else self._tokens(call, family, now)

    def refusal(self, call: Call) -> web.Response:
        """Refuse a password in Peakly's words or OWIN's, a refresh token always in OWIN's (RFC 6749 §5.2)."""
        if call.step == _REFRESH:
            return self._answer({"error": "invalid_grant"}, 400)
        if self.settings.owin_refusals:
            return self._answer({"error": "invalid_grant", "error_description": _WRONG}, 400)
        return self._answer({"message": _WRONG}, 401)

    def _family(self, call: Call, now: Moment) -> str | None:
        value = str(call.fields.get(_REFRESH, ""))
        call.note.why = self._ledger.why_not(value, {_REFRESH}, now.monotonic)
        use, family = self._ledger.use(value, _REFRESH, now=now.monotonic, spend=self.settings.rotate_refresh_tokens)
        if use is Use.REUSED:
            self.counts.refresh_reuse += 1
        return family if use is Use.ACCEPTED else None

    def _tokens(self, call: Call, family: str, now: Moment) -> web.Response:
        lifetime = self.settings.lifetime
        token = self.settings.token_prefix + secrets.token_urlsafe(96)
        self._ledger.issue(token, _ACCESS, lifetime=lifetime, now=now.monotonic, family=family)
        self.counts.tokens_issued += 1
        call.note.issued = fingerprint(token)
        issued = math.floor(now.wall)
        answer: dict[str, object] = {
            "access_token": token,
            "token_type": "bearer",
            "expires_in": self._expires_in(lifetime),
            "organizacionActual": "Peakly",
            "userName": "Administrador",
            ".issued": http_date(issued),
            # Whole seconds, rounded up: with two equal dates, the token would be expired on arrival.
            ".expires": http_date(issued + math.ceil(lifetime)),
        }
        if self.settings.refresh_tokens and (call.step == "password" or self.settings.rotate_refresh_tokens):
            refresh = self.settings.token_prefix + secrets.token_urlsafe(32)
            self._ledger.issue(
                refresh, _REFRESH, lifetime=self.settings.refresh_lifetime, now=now.monotonic, family=family
            )
            answer[_REFRESH] = refresh
        return self._answer(answer, 200, now)

    def _expires_in(self, lifetime: float) -> float:
        if not self.settings.truncate_expires_in or lifetime <= 1:
            return number(lifetime)
        return math.ceil(lifetime) - 1

    def _answer(self, payload: dict[str, object], status: int, now: Moment | None = None) -> web.Response:
        date = {} if now is None else {"Date": http_date(now.wall)}
        return json_answer(payload, status, content_type=JSON_OWIN, headers={**_NO_STORE, **date})
