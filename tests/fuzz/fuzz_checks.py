"""What must hold whatever was sent: each check takes the bytes or text, and fails if a promise is broken.

The fuzz tests feed them what hypothesis draws, the corpus what once failed.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import math
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar, cast
from unittest import mock

import attrs
from hostile import NOW, SECRET, Answer
from hypothesis import settings
from multidict import CIMultiDict

from asyncauth import (
    AnswerFields,
    AuthError,
    ClientCredentials,
    DeclaredProvider,
    DeviceCode,
    ErrorFields,
    JWTBearer,
    PagoFacil,
    PagoFacilJWT,
    PagoFacilLogin,
    PasswordGrant,
    Peakly,
    Provider,
    RefreshGrant,
    RefreshPolicy,
    Token,
    TokenExchange,
    expiry,
)
from asyncauth._base.redaction import Redactor
from asyncauth._core.cache import TokenState
from asyncauth._core.cached_token import NOTHING
from asyncauth._core.try_state import TryState, set_try
from asyncauth._http import challenge
from asyncauth.providers.wire.lifetime_fields import UNITS, lifetime_of
from asyncauth.stores import dumps, loads, remains, time_to_live

_T = TypeVar("_T")

URL = "https://login.example.com/token"
_LONGEST_ERROR = 1000
_LONGEST_REPR = 1000
_MOST_SLEEPS = 20


def examples(number: int) -> settings:
    """Run so many examples in ``make test``, and FUZZ times as many where that is set."""
    return settings(max_examples=number * int(os.environ.get("FUZZ", "1")), deadline=None)


# --- What comes out


def usable(token: Token) -> None:
    """Check that a token can be sent, held, shown and shared."""
    assert token.value
    assert all("\x21" <= char <= "\x7e" for char in token.authorization.removeprefix(token.token_type + " "))
    assert token.authorization.isascii()
    assert token.authorization.isprintable()
    assert math.isfinite(token.issued_at)
    assert token.expires_at is None or (math.isfinite(token.expires_at) and token.expires_at > token.issued_at)
    assert token.refresh_token is None or token.refresh_token.isprintable()
    assert repr(token).isprintable()
    assert len(repr(token)) < _LONGEST_REPR
    with contextlib.suppress(AuthError):  # spent on arrival
        held = TokenState(RefreshPolicy()).cached_from(
            token, before=NOTHING, sent_at=1000.0, now=1000.0, wall=NOW, unit_random=1.0
        )
        assert held.fresh_until <= held.usable_until
        assert not math.isnan(held.fresh_until)
    assert loads(dumps(token)).value == token.value
    kept(token)


def kept(token: Token) -> None:
    """Check that a store knows for how long to keep a token."""
    assert math.isfinite(time_to_live(token, NOW))
    left = remains(token)
    assert left is None or math.isfinite(time_to_live(left, NOW))


def honest(error: AuthError, *, asked: bool = True) -> None:
    """Check that an error can be logged: short, on one line, and without what was sent, if anybody was asked."""
    for shown in (str(error), error.error or "", error.error_description or ""):
        assert shown.isprintable()
        assert len(shown) < _LONGEST_ERROR
        assert SECRET not in shown or error.step == "discovery" or not asked
    assert error.retry_after is None or (math.isfinite(error.retry_after) and error.retry_after >= 0)
    assert error.__cause__ is None


# --- Providers, asked without a socket


class _Enough(BaseException):
    """The flight's deadline, as it were: a device code may be waited for for ever."""


class _Clock:
    def __init__(self) -> None:
        self.now, self.sleeps = 1000.0, 0

    def wall(self) -> float:
        return NOW + self.now - 1000.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert math.isfinite(seconds)
        assert seconds >= 0
        self.sleeps += 1
        self.now += seconds
        if self.sleeps > _MOST_SLEEPS:
            raise _Enough


@attrs.define
class _Content:
    left: bytes

    async def readany(self) -> bytes:
        read, self.left = self.left[:65_536], self.left[65_536:]
        return read


class _Response:
    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.headers = CIMultiDict(answer.headers)
        self.content = _Content(answer.body)

    def close(self) -> None:
        """Do nothing: there is no connection."""


@attrs.frozen
class Canned:
    """A session that gives one answer to all: what a provider does with it needs no event loop."""

    answer: Answer
    trust_env: bool = False

    @contextlib.asynccontextmanager
    async def request(self, *_: object, **__: object) -> AsyncIterator[_Response]:
        yield _Response(self.answer)


def _declared(unit: Any) -> Provider:
    return DeclaredProvider(
        name="declared",
        url=URL,
        credential={"secret": SECRET},
        sent_as="json",
        answer=AnswerFields(token="items[0].access_token", lifetime="items[0].expires_in", unit=unit),
    )  # fmt: skip


def _odd(token: str) -> Provider:
    """Return a provider whose answers are declared to be as odd as can be."""
    answer = AnswerFields(
        token=token, lifetime="header:X-Life", unit="hh:mm:ss", default_lifetime=60, never=(0, "never*"),
        refresh_token="items.refresh_token", extra={"user": "items.User[0]"},
    )  # fmt: skip
    errors = ErrorFields(
        message=("items.message", "header:X-Error"), rejected={"error": ("invalid_*", None)}, busy=(4, "*slow*"),
        failed={"items.ok": False}, succeeded={"items.ok": True, "items": "*"}, retry_after="interval", refusals=(418,),
    )  # fmt: skip
    return DeclaredProvider(name="odd", url=URL, credential=SECRET, sent_as="bearer", answer=answer, errors=errors)


def _oauth(kind: Any, **options: Any) -> Provider:
    made: Provider = kind(**{"token_url": URL, "client_id": "me", "client_secret": SECRET, **options})
    return made


PROVIDERS: Mapping[str, Callable[[], Provider]] = {
    "peakly": lambda: Peakly(username="ana", password=SECRET),
    "login": lambda: PagoFacilLogin(username="ana", password=SECRET),
    "users/login": lambda: PagoFacilLogin(username="ana", password=SECRET, generation=2),
    "createToken": lambda: PagoFacil(jwt=SECRET),
    "loginToken": lambda: PagoFacilJWT(access_token=SECRET),
    "loginToken for a day": lambda: PagoFacilJWT(access_token=SECRET, lifetime=86_400),
    "client credentials": lambda: _oauth(ClientCredentials),
    "DPoP": lambda: _oauth(ClientCredentials, dpop=True),
    "by issuer": lambda: _oauth(ClientCredentials, token_url=None, issuer="https://login.example.com"),
    "password": lambda: _oauth(PasswordGrant, username="ana", password=SECRET),
    "refresh token": lambda: _oauth(RefreshGrant, refresh_token=SECRET),
    "assertion": lambda: _oauth(JWTBearer, assertion=SECRET),
    "exchange": lambda: _oauth(TokenExchange, subject_token=SECRET),
    "device": lambda: DeviceCode(
        token_url=URL, device_authorization_url=URL, client_id="me", client_secret=SECRET, show=lambda _: None
    ),
    "in XML": lambda: _odd("items.access_token"),
    "in a header": lambda: _odd("header:WWW-Authenticate"),
    "as the body": lambda: _odd("$"),
    "nested": lambda: _oauth(ClientCredentials, answer=AnswerFields(token="items[0].access_token")),
    **{f"declared in {unit}": lambda unit=unit: _declared(unit) for unit in UNITS},  # type: ignore[misc]
}
_MADE = {name: make() for name, make in PROVIDERS.items() if name != "by issuer"}


def driven(work: Coroutine[Any, Any, _T]) -> _T:
    """Return what a coroutine returns that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        result: _T = done.value
        return result
    raise AssertionError("it waits for something")


def _attempted(work: Coroutine[Any, Any, _T]) -> _T:
    """Drive one try, in a context of its own: the clock that it sets there is no other test's."""
    set_try(TryState(_Clock()))
    return driven(work)


def answer(given: Answer, names: Iterable[str] = PROVIDERS) -> None:
    """Check that every provider makes a usable token or an honest error of an answer, fresh and renewed."""
    # A Redactor takes long to make, and never changes: providers that sent the same share one per answer.
    with mock.patch("asyncauth.providers.wire.endpoint.Redactor", functools.cache(Redactor)):
        for name in names:
            # The one that reads metadata remembers them.
            provider = _MADE.get(name) or PROVIDERS[name]()
            for previous in (None, Token("old", refresh_token=SECRET, issued_at=NOW, expires_at=NOW + 60)):
                work = provider.fetch(Canned(given), previous)  # type: ignore[arg-type]
                try:
                    token = contextvars.copy_context().run(_attempted, work)
                except AuthError as error:
                    honest(error)
                except _Enough:
                    continue
                else:
                    usable(token)


def body(raw: bytes, names: Iterable[str] = PROVIDERS) -> None:
    """Check a good answer's body with every provider, or some."""
    answer(Answer(200, (("Date", "Tue, 14 Nov 2023 22:13:20 GMT"),), raw), names)


# --- Texts


def date(text: str) -> None:
    """Check that whatever reads an instant or a wait gives a finite number, nothing, or an honest error."""
    for now in (None, NOW):
        read = [expiry.try_http_date(text), expiry.server_now(text, text), expiry.retry_after(text, now)]
        assert all(each is None or math.isfinite(each) for each in read)
    for unit in UNITS:
        try:
            durations, instants = lifetime_of(text, "field", cast("Any", unit))
        except AuthError as error:
            honest(error, asked=False)
        else:
            assert all(map(math.isfinite, [*durations, *instants]))
            assert len(durations) + len(instants) == 1


def jwt(text: str) -> None:
    """Check that a token's own times are finite numbers, or none."""
    durations, instants = expiry.jwt_lifetime(text, NOW)
    assert all(map(math.isfinite, [*durations, *instants]))


def challenges(lines: list[str]) -> None:
    """Check that a 401 gets a plain yes or no, and its challenges can be shown."""
    assert challenge.reason_of(lines) in challenge.Reason
    for each in challenge.parse(lines):
        assert each.scheme.isascii()
        assert repr(each).isascii()
        assert len(repr(each)) < _LONGEST_REPR


def entry(text: str | bytes) -> None:
    """Check that a store's entry is a token, or a ValueError that tells nothing."""
    try:
        token = loads(text)
    except ValueError as error:
        problem = error
        token = None
    if token is None:
        assert str(problem) == "an entry that is damaged, or of another version"
        assert problem.__cause__ is problem.__context__ is None
        return
    assert all("\x21" <= char <= "\x7e" for char in token.value)
    assert math.isfinite(token.issued_at)
    assert token.expires_at is None or math.isfinite(token.expires_at)
    assert token.value or token.expires_at == token.issued_at
    assert len(repr(token)) < _LONGEST_REPR
    assert repr(token).isprintable()
    # What it holds can be sent: nobody looks at it again before that.
    (token.refresh_token or "").encode()
    kept(token)
    again = loads(dumps(token))
    assert attrs.evolve(again, extra={}) == attrs.evolve(token, extra={})
