"""What is known of a token, and how that changes: plain transitions, told the time, without I/O.

Every method may be called from any thread.
"""

from __future__ import annotations

import math
import struct
import threading
from typing import TYPE_CHECKING

import attrs

from asyncauth import expiry
from asyncauth._core.failures import Meanwhile, Setback, setback_after
from asyncauth.errors import AuthError, ConfigurationError, InvalidTokenResponse
from asyncauth.token import Token, type_flaw

if TYPE_CHECKING:
    from asyncauth.policy import RefreshPolicy
    from asyncauth.status import State, Status

__all__ = ["NOTHING", "Held", "TokenState"]


PROVEN_AFTER = 5.0
"""Seconds after which a token that nobody complained about counts as accepted by the API."""


@attrs.define(eq=False, repr=False)
class Held:
    """One obtained token. All moments are seconds on the manager's monotonic clock.

    A manager replaces the whole object when the token changes, so a reader in any thread sees parts that belong
    together. Only `hot_until` and `accepted` change in place: each is a hint that may be read late.

    Attributes:
        token: The token (an empty one in `NOTHING`, which is never handed out).
        authorization: Its header value, made once.
        since: When it became the current one; when it was refused, if it was.
        fresh_until: From then on it is to be renewed.
        usable_until: From then on it is spent.
        hot_until: Until then `TokenManager.token` hands it out on the real clock alone. It equals `fresh_until`
            once somebody has used the token, so that unused ones are noticed at no cost to those in use.
        refused: Whether the API refused it; it is spent then.
        replacement: Whether it was asked for after its predecessor had been refused.
        accepted: Whether the API answered it with anything but a refusal.
    """

    token: Token
    authorization: str = ""
    since: float = -math.inf
    fresh_until: float = -math.inf
    usable_until: float = -math.inf
    hot_until: float = -math.inf
    refused: bool = False
    replacement: bool = False
    accepted: bool = False

    def is_token(self, token: Token) -> bool:
        """Return whether this very token is the one held, and not refused already."""
        return not self.refused and self.token.value == token.value != ""

    @property
    def last(self) -> Token | None:
        """The last token that was obtained, usable or not; ``None`` = there has been none."""
        return self.token if self.token.value else None

    def was_accepted(self, now: float) -> bool:
        """Return whether the API is known, or may be taken, to accept it."""
        return self.accepted or now - self.since >= PROVEN_AFTER

    def after_refusal(self, now: float) -> Held:
        """Return it as spent. What else came with it, such as a refresh token, still counts."""
        return Held(token=self.token, since=now, refused=True)


NOTHING = Held(Token(""))
"""What a manager holds before its first token."""


_REMEMBERED_DURATIONS = 8

_DURATION = struct.Struct("f")

_LONG_AGO = -math.inf


@attrs.define(eq=False)
class _Troubles:
    """What a manager that meets no trouble never has: of 100,000, most have none.

    ``refused`` is the last token that was refused: it may still be in a store, long after it was replaced here.
    """

    setback: Setback | None = None
    adoptions: int = 0
    failures: int = 0
    rejections: int = 0
    damped: int = 0
    damped_until: float = _LONG_AGO
    refused: str = attrs.field(default="", repr=False)


_NONE = _Troubles()
"""Never written to."""


class TokenState:
    """The held token, the last failure, the refusals, and the counts.

    Moments (``now``, ``…_at``, ``…_until``) are seconds on the manager's monotonic clock, unless they say wall.

    Args:
        policy: The manager's.
        guard: Its lock; ``None`` = one of this one's own.

    Attributes:
        held: The token and its moments, replaced as a whole.
        refreshes: How many tokens were fetched.
        waits: How many callers had to wait.
    """

    __slots__ = (
        "_durations",
        "_guard",
        "_last_success",
        "_policy",
        "_troubles",
        "held",
        "refreshes",
        "waits",
    )

    def __init__(self, policy: RefreshPolicy, guard: threading.RLock | None = None) -> None:
        self.held = NOTHING
        self.refreshes = self.waits = 0
        self._guard = threading.RLock() if guard is None else guard
        self._policy = policy
        self._troubles = _NONE
        self._durations = b""  # packed floats, the latest last: 37 to 65 bytes, where a deque takes 820
        self._last_success: float | None = None

    @property
    def guard(self) -> threading.RLock:
        """Its lock, for who has to do several things at once."""
        return self._guard

    @property
    def setback(self) -> Setback | None:
        """The failure since the last success; ``None`` = none."""
        return self._troubles.setback

    def _own_troubles(self) -> _Troubles:
        """Return what may be written to."""
        if self._troubles is _NONE:
            self._troubles = _Troubles()
        return self._troubles

    # What callers meet

    def may_try(self, now: float) -> bool:
        """Return whether nothing is being waited out, or a refused credential may have changed meanwhile."""
        setback = self.setback
        return setback is None or now >= setback.retry_at or setback.may_ask(now)

    def held_off(self, now: float) -> AuthError | None:
        """Return the last failure for a caller who needs a token, if nothing is to be tried for now."""
        setback = self.setback
        if setback is None or setback.meanwhile is not Meanwhile.FAIL or self.may_try(now):
            return None
        return setback.seen(now)

    def due(self) -> float:
        """Return when the next refresh is due, by the token's windows and by what is being waited out."""
        fresh_until, setback = self.held.fresh_until, self.setback
        return fresh_until if setback is None else max(fresh_until, setback.retry_at)

    # What the token endpoint says

    def examine(
        self,
        token: Token,
        *,
        before: Held,
        sent_at: float,
        now: float,
        wall: float,
        draw: float,
        started: float | None = None,
    ) -> Held:
        """Return a fetched token as it is to be held. Of its times only the lifetime counts; the rest is by our clock.

        Args:
            token: The fetched one.
            before: What was held when its request was made.
            sent_at: When the request was sent.
            now: When the answer came.
            wall: The same moment by the wall clock, in Unix epoch seconds.
            draw: A random number from 0 to 1, for the jitter.
            started: When the try began. In a chain, or with a slow callable, what precedes the token request takes
                its time as well, and the next renewal must begin early enough for it. ``None`` = `sent_at`.

        Raises:
            InvalidTokenResponse: It can't be sent, or was spent on arrival.
        """
        lifetime = _checked_lifetime(token)
        with self._guard:
            duration = _DURATION.pack(now - (sent_at if started is None else started))
            self._durations = (self._durations + duration)[-_REMEMBERED_DURATIONS * _DURATION.size :]
            held = self._held(token, lifetime, sent_at=sent_at, now=now, wall=wall, draw=draw)
        if held.usable_until <= now:
            raise InvalidTokenResponse(
                f"the token was spent on arrival: it lives {lifetime:g} s, its answer took {now - sent_at:.3g} s"
            )
        held.replacement = before.refused
        return held

    def adoptable(self, token: Token, *, before: Held, now: float, wall: float, draw: float) -> Held | None:
        """Return another process' token as it is to be held; ``None`` = it is not for us.

        It must be another than ours, and than the last that was refused. While ours is usable, it must be fresh by
        windows without jitter, or two processes would hand each other a token that both should renew; else any usable
        one will do.

        Args:
            token: The stored one; its times are by the writer's wall clock.
            before: What is held.
            now: The monotonic clock's seconds.
            wall: The same moment by the wall clock, in Unix epoch seconds.
            draw: A random number from 0 to 1, for the jitter.
        """
        if token.value in (before.token.value, self._troubles.refused):
            return None
        try:
            lifetime = _checked_lifetime(token)
        except InvalidTokenResponse:
            return None  # marked as refused
        age = 0.0 if lifetime is None else max(0.0, lifetime - expiry.left_of(token.expires_at, token.issued_at, wall))
        with self._guard:
            plain = self._policy.windows(lifetime, slowest=self._slowest())
            if age >= (plain.fresh if now < before.usable_until else plain.usable):
                return None
            held = self._held(token, lifetime, sent_at=now - age, now=now, wall=wall, draw=draw)
        if before.refused:
            if held.token.issued_at <= before.token.issued_at:
                return None  # older than the refused one: refused, too, most likely
            # Asked for since the refusal? Then a refusal of this one as well is no matter of its age.
            held.replacement = now - age > before.since
        return held

    def hold(self, held: Held, *, wall: float, adopted: bool = False) -> None:
        """Make an examined token the current one: a success.

        Args:
            held: From `examine` or `adoptable`.
            wall: The wall clock, in Unix epoch seconds.
            adopted: Whether it is another process'.
        """
        with self._guard:
            self.held = held
            if self._troubles is not _NONE:
                self._troubles.setback = None
            self._last_success = wall
            if adopted:
                self._own_troubles().adoptions += 1
            else:
                self.refreshes += 1

    def _slowest(self) -> float:
        """Return the seconds that the slowest of the last token requests took."""
        return max((duration for (duration,) in _DURATION.iter_unpack(self._durations)), default=0.0)

    def _held(
        self, token: Token, lifetime: float | None, *, sent_at: float, now: float, wall: float, draw: float
    ) -> Held:
        """Return a token with its times and windows by our own clocks."""
        windows = self._policy.windows(lifetime, slowest=self._slowest(), draw=draw)
        issued_at = wall - (now - sent_at)
        expires_at = None if lifetime is None else issued_at + lifetime
        return Held(
            token=attrs.evolve(token, issued_at=issued_at, expires_at=expires_at),
            authorization=token.authorization,
            since=now,
            fresh_until=sent_at + windows.fresh,
            usable_until=sent_at + windows.usable,
        )

    def fail(
        self,
        error: AuthError,
        *,
        now: float,
        deadline: float,
        draw: float,
        rejected: tuple[int, float] | None = None,
    ) -> Setback:
        """Remember a failed try; see `setback_after` for the arguments."""
        with self._guard:
            setback = setback_after(
                error, self.setback, self._policy, now=now, deadline=deadline, draw=draw, rejected=rejected
            )
            troubles = self._own_troubles()
            troubles.setback = setback
            troubles.failures += 1
            return setback

    def times_rejected(self, credential: str) -> int:
        """Return how often in a row this credential was rejected, by its digest."""
        refusal = None if self.setback is None else self.setback.refusal
        return refusal.times if refusal is not None and refusal.credential == credential else 0

    def hasten(self, now: float) -> None:
        """Wait nothing out any more before the next try; what was remembered of failures still counts after it."""
        with self._guard:
            if self.setback is not None:
                self._own_troubles().setback = self.setback.hastened(now)

    def ask(self, now: float) -> Setback | None:
        """Note that a credential is looked at while its refusal is remembered; return that memory, which stays."""
        with self._guard:
            setback = self.setback
            if setback is not None:
                setback = self._own_troubles().setback = setback.asked(now + self._policy.rejection_cooldown)
            return setback

    def lose_refresh_token(self, before: Held, *, successor: str | None = None) -> None:
        """Forget a refresh token that a request may have used up: no answer came, or none but its successor."""
        with self._guard:
            token = self.held.token
            if token.value == before.token.value:
                self.held = attrs.evolve(self.held, token=attrs.evolve(token, refresh_token=successor))

    # What the API says

    def refuse(self, token: Token, *, repeat: bool, now: float) -> float | None:
        """Take note that the API refused a token.

        It is dropped if it is the current one. But a replacement that is refused as well, before it was accepted or
        in the repeat of a refused request, stays, and a cool-down begins in which refusals change nothing.

        Returns:
            Seconds of the cool-down that begins; 0.0 = the token was dropped; ``None`` = nothing changed.
        """
        with self._guard:
            held = self.held
            if not held.is_token(token) or now < self._troubles.damped_until:
                return None
            troubles = self._own_troubles()
            if held.replacement and (repeat or not held.was_accepted(now)):
                troubles.damped += 1
                hold = self._policy.refusal_hold(troubles.damped)
                troubles.damped_until = now + hold
                return hold
            self.held = held.after_refusal(now)
            troubles.rejections += 1
            troubles.refused = token.value
            return 0.0

    def accept(self, token: Token, *, repeat: bool) -> None:
        """Take note that the API accepted a token; in the repeat of a refused request, the cool-downs start over."""
        with self._guard:
            if self.held.is_token(token):
                self.held.accepted = True
                if repeat and self._troubles is not _NONE:
                    self._troubles.damped = 0

    # What people see

    def phase(self, now: float) -> State:
        """Return in which part of its life the token is."""
        held = self.held
        if now < held.fresh_until:
            return "fresh"
        return "empty" if held.last is None else "stale" if now < held.usable_until else "spent"

    def status(self, provider: str, *, now: float, refreshing: bool, waiting: int, store: str | None = None) -> Status:
        """Return a snapshot for people."""
        from asyncauth.status import Status  # noqa: PLC0415 (its class takes as long to import as all of this one)

        with self._guard:
            held, troubles = self.held, self._troubles
            setback = troubles.setback
            usable = now < held.usable_until
            held_off = setback is not None and setback.meanwhile is Meanwhile.FAIL and now < setback.retry_at
            return Status(
                provider=provider,
                state=self.phase(now),
                refreshing=refreshing,
                cooling_down=held_off or now < troubles.damped_until,
                seconds_left=expiry.finite(held.usable_until - now) if usable else None,
                next_refresh_in=None if held.last is None else expiry.finite(max(0.0, self.due() - now)),
                last_success_at=self._last_success,
                last_error=None if setback is None else f"{type(setback.error).__name__}: {setback.error}",
                refreshes=self.refreshes,
                adoptions=troubles.adoptions,
                store=store,
                failures=troubles.failures,
                rejections=troubles.rejections,
                waits=self.waits,
                waiting=waiting,
                fingerprint=held.token.fingerprint if usable else None,
            )


def _checked_lifetime(token: object) -> float | None:
    """Return the seconds that what a provider returned lives, if it is a token that can be sent.

    Raises:
        ConfigurationError: It is no `Token`.
        InvalidTokenResponse: It is one that can't be used.
    """
    if not isinstance(token, Token):
        raise ConfigurationError(f"fetch() must return a Token, not {type(token).__name__}")
    flaw = type_flaw(token)
    if flaw is not None:
        raise ConfigurationError(f"fetch() returned a Token whose {flaw}")
    if not token.value or not all("\x21" <= char <= "\x7e" for char in token.value):
        raise InvalidTokenResponse("the access token is empty, or holds characters that can't travel in a header")
    if not (token.token_type.isascii() and token.token_type.replace("-", "").isalnum()):
        raise InvalidTokenResponse("the token type can't travel in a header")
    lifetime = token.lifetime
    if lifetime is None or lifetime == math.inf:
        return None
    if not lifetime > 0:  # NaN too
        raise InvalidTokenResponse("the token was expired on arrival")
    return lifetime
