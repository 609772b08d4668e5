"""The decisions about authorizing requests, without I/O: which token, what to send, and whether to send again.

An HTTP client's adapter carries the decisions out; `BearerAuth` is aiohttp's. It finds the engine in `ServedOrigins`,
and then drives one `AuthFlow` per request and per hop of a redirect::

    engine = served.engine_for(url)
    flow = AuthFlow(engine, token, method="GET", url=url, is_repeatable=lambda: True)
    while True:
        flow.authorize(headers)
        try:
            response = await send(f"{url}{flow.url_ending}", headers)
        finally:
            flow.strip(headers)
        step = flow.answered(response.status, challenges=…, dpop_nonce=…)
        if step is Step.RENEW:
            await sleep(flow.pause)
            step = flow.renewed(await a_usable_token())  # Step.RETURN if no token is available
        if step is Step.RETURN:
            return response
        await response.release()
"""

from __future__ import annotations

import enum
import functools
import logging
from typing import TYPE_CHECKING

from asyncauth._base.printable import name_of
from asyncauth._core.frames import forget_frames, forget_text
from asyncauth._core.provider_members import origins_of
from asyncauth._http.origin import Place, in_the_clear_error, place_of, places_of
from asyncauth.errors import ConfigurationError
from asyncauth.manager import TokenManager, engine_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, MutableMapping, Sequence

    from yarl import URL

    from asyncauth._core.cached_token import CachedToken
    from asyncauth._core.engine import TokenEngine

__all__ = ["DPOP_NONCE", "UNAUTHORIZED", "AuthFlow", "Place", "ServedOrigins", "Step"]

DPOP_NONCE = "DPoP-Nonce"
"""The header in which a server gives the nonce for the next proof (RFC 9449 §8.2)."""
UNAUTHORIZED = 401

_DPOP = "DPoP"
_DENIALS = frozenset({UNAUTHORIZED, 403})
"""Statuses with which APIs answer a request without a token."""
_MOST_REPEATS = 2
"""The second repeat is for a first one whose token got a 401, too, or that the API did not know yet."""

_log = logging.getLogger("asyncauth.manager")


class ServedOrigins:
    """The origins that managers' tokens may be sent to. Immutable; usable in any thread.

    Args:
        managers: At least one. No two may have the same origin.

    Raises:
        ConfigurationError: Two managers have one origin; one has no origins; or one is not a `TokenManager`.
        InsecureTransport: A manager's origin is plain http to another machine.
    """

    __slots__ = ("_engines", "_in_the_clear")

    def __init__(self, managers: Iterable[TokenManager]) -> None:
        self._engines: dict[Place, TokenEngine] = {}
        self._in_the_clear: set[Place] = set()
        for manager in managers:
            if not isinstance(manager, TokenManager):
                kind = type(manager).__name__
                what = (
                    "pass each one as an argument"
                    if isinstance(manager, (list, tuple))
                    else "write TokenManager(…) around it"
                )
                raise ConfigurationError(f"this takes TokenManagers, not {kind}", advice=what)
            self._add(engine_of(manager))

    def _add(self, engine: TokenEngine) -> None:
        served, in_the_clear = places_of(origins_of(engine.provider), engine.options.insecure_hosts)
        if not served:
            raise ConfigurationError(
                f"{engine!r} has no origins, so no request may carry its token",
                advice="give its provider origins=('https://api.example.com',)",
            )
        for place in served:
            if place in self._engines:
                origin = "{}://{}".format(*place)
                raise ConfigurationError(
                    f"two managers for {origin}: a request carries only one token", advice="pass only one of them"
                )
        self._engines.update(dict.fromkeys(served, engine))
        self._in_the_clear |= in_the_clear

    @property
    def first(self) -> tuple[Place, TokenEngine]:
        """The first origin and its engine."""
        return next(iter(self._engines.items()))

    def engine_for(self, url: URL) -> TokenEngine | None:
        """Return the engine whose token may be sent to a URL; ``None``: there is none.

        Raises:
            InsecureTransport: The URL is plain http to a host that is served by https.
        """
        place = place_of(url)
        engine = self._engines.get(place)
        if engine is None and place in self._in_the_clear:
            raise in_the_clear_error(url)
        return engine

    def note_unserved(self, url: URL, status: int) -> None:
        """Log that a request was sent without a token, since no manager serves its origin.

        Logs once per origin and process at ``INFO``, and once at ``WARNING`` if the answer is a 401 or 403.

        Args:
            url: The request's URL.
            status: The answer's status.
        """
        served = tuple(place for place in self._engines if not place[0].startswith("ws"))
        _log_unserved(place_of(url), served, status if status in _DENIALS else None)


class Step(enum.Enum):
    """An adapter's next action after an answer."""

    RETURN = "return"
    """Return the answer to the caller."""
    SEND = "send"
    """Release the answer, authorize the request again, and send it."""
    RENEW = "renew"
    """Wait `AuthFlow.pause` seconds, obtain a usable token, and do what `AuthFlow.renewed` returns."""


class AuthFlow:
    """The decisions about one request. Used by one task; its repr shows no secret.

    Args:
        engine: The engine whose token the request carries. The flow reports to it which tokens the API accepts, and
            which get a 401.
        token: The token to send first.
        method: The request's method.
        url: The request's URL.
        is_repeatable: Called before a repeat; returns whether the body can be sent again unchanged.

    Attributes:
        pause: Seconds to wait before the token is renewed, after `Step.RENEW`: 0.0, or up to 1 s if the API may not
            know a new token yet.
    """

    __slots__ = ("_carrier", "_engine", "_is_repeatable", "_method", "_nonce_sent", "_nonce_used", "_prover",
                 "_repeats", "_same_again", "_token", "_url", "pause")  # fmt: skip

    def __init__(
        self,
        engine: TokenEngine,
        token: CachedToken,
        *,
        method: str,
        url: URL,
        is_repeatable: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._prover = engine.options.prover
        self._carrier = engine.options.carrier
        self._token = token
        self._method = method
        self._url = url
        self._is_repeatable = is_repeatable
        self.pause = 0.0
        self._repeats = 0
        self._same_again: bool | None = None  # whether to send the current token again; None: not asked yet
        self._nonce_sent: str | None = None
        self._nonce_used = False  # whether this token was already sent again because of a nonce

    def authorize(self, headers: MutableMapping[str, str]) -> None:
        """Add the token to a request, and a proof if the token is bound to a key (RFC 9449 §7).

        A token that goes into the query is in `url_ending` instead.

        Args:
            headers: The request's headers. They are changed in place, so that no frame has the token as a local
                variable, which a crash reporter would record.
        """
        self._carrier.put_on(headers, self._token.authorization)
        if self._prover is not None:
            self._nonce_sent = self._prover.nonce(self._url)
            headers[_DPOP] = self._prover.proof(self._method, self._url, self._token.token.value)

    def strip(self, headers: MutableMapping[str, str]) -> None:
        """Remove from the headers what `authorize` added, once the request has been answered or has failed.

        Otherwise a response's ``request_info``, and the repr of an error made from it, would show the token.
        """
        self._carrier.take_off(headers)
        if _DPOP in headers and self._prover is not None:
            del headers[_DPOP]

    @property
    def url_ending(self) -> str:
        """The text to append to the request's URL: a token that goes into the query, or ``""``. Secret."""
        return self._carrier.added_to(self._url, self._token.authorization)

    @property
    def cookie(self) -> str:
        """The token as a cookie, or ``""`` if it is not carried in one. Secret."""
        return self._token.authorization if self._carrier.place == "cookie" else ""

    def forget_url(self, error: BaseException) -> None:
        """Remove `url_ending` from an error: aiohttp's errors quote the request's URL."""
        forget_text(error, self.url_ending)

    def forget_token(self, error: BaseException) -> None:
        """Remove the token from an error of user code that read the answer: some APIs repeat what they were sent."""
        forget_frames(error)
        forget_text(error, self._token.token.value)

    def answered(
        self,
        status: int,
        *,
        challenges: Sequence[str] = (),
        dpop_nonce: str | None = None,
        refused: bool | None = None,
    ) -> Step:
        """Decide what to do after an answer.

        Args:
            status: The answer's status.
            challenges: The lines of its ``WWW-Authenticate`` header.
            dpop_nonce: Its ``DPoP-Nonce`` header.
            refused: Whether the API did not accept the token; ``None`` (default): a 401 means so, unless its challenges
                give another reason. If the server asks for another proof, that is sent first.
        """
        if self._prover is not None:
            self._prover.note(self._url, dpop_nonce)
        if status == UNAUTHORIZED and self._wants_another_proof(challenges):
            self._nonce_used = True
            return Step.SEND
        foreign = False
        if refused is None and status == UNAUTHORIZED:
            from asyncauth._http.challenge import Reason, reason_of  # noqa: PLC0415 (imported with the first 401)

            reason = reason_of(challenges)
            refused, foreign = reason is not Reason.OTHER, reason is Reason.FOREIGN
        if refused:
            return self._refused(foreign=foreign)
        self._engine.accepted(self._token.token, repeat=self._repeats > 0)
        return Step.RETURN

    def _refused(self, *, foreign: bool) -> Step:
        """Report an API 401 to the token, and decide whether to send the request again."""
        may_repeat = self._repeats < _MOST_REPEATS and self._is_repeatable()
        pause = self._engine.note_api_401(
            self._token,
            repeat=self._repeats > 0,
            foreign=foreign,
            again=may_repeat and self._same_again is None,
        )
        if pause is not None:
            self._same_again = True
        self.pause = pause or 0.0
        return Step.RENEW if may_repeat else Step.RETURN

    def renewed(self, token: CachedToken) -> Step:
        """Decide whether to send the request again with the token that is usable now."""
        if self._same_again:
            self._same_again = False  # once per request
        elif token.token.value == self._token.token.value:
            return Step.RETURN
        self._token = token
        self._repeats += 1
        self._nonce_used = False
        return Step.SEND

    def _wants_another_proof(self, challenges: Sequence[str]) -> bool:
        """Return whether the server requires a nonce that the request did not carry (RFC 9449 §9)."""
        prover = self._prover
        # Compared with this request's nonce: another request may have received the new one already.
        if prover is None or self._nonce_used or prover.nonce(self._url) == self._nonce_sent:
            return False
        from asyncauth._http.challenge import wants_dpop_nonce  # noqa: PLC0415 (as above)

        return wants_dpop_nonce(challenges) and self._is_repeatable()

    def __repr__(self) -> str:
        return f"<AuthFlow {self._method} {self._url.with_query(None)} {self._engine!r}>"


@functools.lru_cache(maxsize=256)  # the cache makes each message appear once
def _log_unserved(place: Place, served: tuple[Place, ...], denial: int | None) -> None:
    origin, origins = (name_of(", ".join("{}://{}".format(*each) for each in some)) for some in ((place,), served))
    if denial is None:
        _log.info("requests to %s carry no token: no manager serves that origin, only %s", origin, origins)
    else:
        _log.warning(
            "%s answered %d to a request without a token: no manager serves that origin, only %s."
            " If it is the same system, write the URL with that origin, or name this one in the provider's origins=",
            origin,
            denial,
            origins,
        )
