"""Pago Fácil: the chain of tokens, the newer ``users/login``, and an API that accepts JWTs."""

from __future__ import annotations

import json
import math
import secrets
from typing import TYPE_CHECKING, Any, ClassVar, TypeGuard

from asyncauth.sandbox.api import expected
from asyncauth.sandbox.behaviour import Call
from asyncauth.sandbox.settings import PagoFacilSettings
from asyncauth.sandbox.system import System
from asyncauth.sandbox.wire import JSON_PLAIN, bearer, fingerprint, http_date, json_answer, number, signed_jwt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from asyncauth.sandbox.details import Why
    from asyncauth.sandbox.wire import Moment

_LOGIN = "login"
_NEW_LOGIN = "users/login"
_CREATE = "createToken"
_LOGIN_TOKEN = "loginToken"  # noqa: S105 - the provider's name of an endpoint
_STEPS: Mapping[str, str] = {
    "/login": _LOGIN,
    "/users/login": _NEW_LOGIN,
    "/tokens/createToken": _CREATE,
    "/loginToken": _LOGIN_TOKEN,
}
_JWTS = frozenset({_LOGIN, _LOGIN_TOKEN})
_USER = "5f1e9c0b7a"
_WRONG = "Wrong email or password."


class PagoFacilSandbox(System[PagoFacilSettings]):
    """Pago Fácil on a separate port.

    The token endpoints are ``POST /login``, ``/users/login``, ``/tokens/createToken`` and ``/loginToken``; the steps
    are called ``"login"``, ``"users/login"``, ``"createToken"`` and ``"loginToken"``. Every other path is the protected
    API, which accepts the JWTs of ``login``, ``users/login`` and ``loginToken``.
    """

    name: ClassVar[str] = "pago_facil"
    title: ClassVar[str] = "Pago Fácil"
    steps: ClassVar[frozenset[str]] = frozenset({_LOGIN, _CREATE, _LOGIN_TOKEN})
    requests: ClassVar[tuple[str, ...]] = (_LOGIN, _NEW_LOGIN, _CREATE, _LOGIN_TOKEN)
    denied: ClassVar[str] = "Invalid Token"
    json_type: ClassVar[str] = JSON_PLAIN

    def __init__(self, settings: PagoFacilSettings, **listening: Any) -> None:
        super().__init__(settings, **listening)
        self._key = secrets.token_bytes(32)

    def api_kinds(self) -> frozenset[str]:
        """Return the kinds of tokens that the API accepts: JWTs, and access tokens if the setting allows them."""
        return _JWTS | {_CREATE} if self.settings.api_accepts_access_tokens else _JWTS

    async def read_call(self, request: web.Request) -> Call | None:
        """Return a ``POST`` to one of the four endpoints, read. A body that is not a JSON object counts as none."""
        step = _STEPS.get(request.path) if request.method == "POST" else None
        if step is None:
            return None
        await expected(request)
        body = await request.read()
        fields: dict[str, object] = {}
        if body and request.content_type == "application/json":
            try:
                given = json.loads(body)
            except ValueError:
                given = None
            if isinstance(given, dict):
                fields.update(given)  # pyright: ignore[reportUnknownArgumentType]
        return Call(step=step, fields=fields, bearer=bearer(request.headers.get("Authorization")))

    def grant(self, call: Call, now: Moment) -> web.Response:
        """Answer with the step's token, or with a rejection in its words."""
        if call.step == _CREATE:
            return self._create_token(call, now)
        if call.step == _LOGIN_TOKEN:
            return self._login_token(call, now)
        user = call.fields.get("username" if call.step == _LOGIN else "user")
        call.note.why = self.login_objection(user, call.fields.get("password"))
        if call.note.why is not None:
            return self.refusal(call)
        lifetime = self.settings.login_lifetime
        token = self._jwt(call, _LOGIN, now, lifetime=lifetime, expires=math.floor(now.wall) + lifetime)
        if call.step == _NEW_LOGIN:
            return self._answer({"message": "OK", "error": None, "data": token}, now)
        return self._answer(token, now)

    def refusal(self, call: Call) -> web.Response:
        """Return the step's own rejection of the credential: 400, 401 or 403."""
        if call.step == _CREATE:
            return json_answer({"message": "Invalid Token"}, 401)
        if call.step == _LOGIN_TOKEN:
            return json_answer({"error": "Not a valid or expired token"}, 403)
        if call.step == _NEW_LOGIN:
            return json_answer({"message": _WRONG, "error": _WRONG, "data": None}, 400)
        return json_answer({"error": _WRONG}, 400)

    def _create_token(self, call: Call, now: Moment) -> web.Response:
        call.note.why = self._bearer_objection(call, _JWTS, now)
        if call.note.why is not None:
            return self.refusal(call)
        lifetime = self.settings.create_token_lifetime
        token = self.settings.token_prefix + secrets.token_urlsafe(48)
        self._ledger.issue(token, _CREATE, lifetime=lifetime, now=now.monotonic)
        self.counts.tokens_issued += 1
        call.note.issued = fingerprint(token)
        return self._answer(
            {
                "User": _USER,
                "access_token": token,
                "expiration_date": number(math.floor(now.wall) + lifetime),
                "token_type": "Bearer",
            },
            now,
        )

    def _login_token(self, call: Call, now: Moment) -> web.Response:
        call.note.why = self._bearer_objection(call, frozenset({_CREATE}), now)
        if call.bearer is None:
            return json_answer({"error": "Invalid Authorization Header"}, 400)
        if call.note.why is not None:
            return self.refusal(call)
        lifetime = self.settings.login_token_lifetime
        expires = math.floor(now.wall) + lifetime
        until = call.fields.get("expDate")
        if until is not None:
            if not _is_epoch(until) or until <= now.wall:
                # The documentation does not say how a date in the past is rejected: this is the sandbox's own text.
                call.note.why = "past_date"
                return json_answer({"error": "Invalid expDate"}, 400)
            lifetime, expires = min((until - now.wall, until), (lifetime, expires))
        return self._answer(self._jwt(call, _LOGIN_TOKEN, now, lifetime=lifetime, expires=expires), now)

    def _bearer_objection(self, call: Call, kinds: frozenset[str], now: Moment) -> Why | None:
        return "no_token" if call.bearer is None else self._ledger.why_not(call.bearer, kinds, now.monotonic)

    def _jwt(self, call: Call, kind: str, now: Moment, *, lifetime: float, expires: float) -> dict[str, object]:
        claims = {
            "iss": "pagofacil",
            "sub": _USER,
            "jti": self.settings.token_prefix + secrets.token_hex(12),
            "iat": math.floor(now.wall),
            "exp": number(expires),
        }
        token = signed_jwt(claims, self._key)
        self._ledger.issue(token, kind, lifetime=lifetime, now=now.monotonic)
        self.counts.tokens_issued += 1
        call.note.issued = fingerprint(token)
        whole = math.floor(lifetime) if lifetime >= 1 and expires == math.floor(expires) else lifetime
        return {"access_token_jwt": token, "expires_in": number(whole), "token_type": "Bearer"}

    def _answer(self, payload: dict[str, object], now: Moment) -> web.Response:
        return json_answer(payload, headers={"Date": http_date(now.wall)})


def _is_epoch(value: object) -> TypeGuard[float]:
    return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
