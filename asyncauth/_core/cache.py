"""What is known of a token, and how that changes: plain transitions, told the time, without I/O.

Every method may be called from any thread.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import attrs

from asyncauth import expiry
from asyncauth._base.forks import new_guard
from asyncauth._core.api_401s import NO_API_401, Api401Memory, after_401, after_401_by_hand
from asyncauth._core.cached_token import NOTHING, CachedToken, checked_lifetime
from asyncauth._core.failures import FailureMemory, SharedHold, remember_failure
from asyncauth._core.trial import Use, waits_for_proof
from asyncauth._http.carrier import PLAIN, Carrier
from asyncauth.errors import AuthError, InvalidTokenResponse, TokenEndpointUnavailable

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from asyncauth._core.api_401s import After401
    from asyncauth.policy import RefreshPolicy
    from asyncauth.status import State, Status
    from asyncauth.token import Token

__all__ = ["TokenState"]


_ROUNDED_OFF = 2.0
"""Seconds by which a server's end of a token and ours may differ, since lifetimes come in whole seconds."""

_REMEMBERED_DURATIONS = 8

_DURATION = struct.Struct("f")


class _Failures:
    """What a manager that meets no trouble never has: of 100,000, most have none."""

    __slots__ = ("adoptions", "api_401s", "failure", "failures")

    def __init__(self) -> None:
        self.failure: FailureMemory | None = None
        self.adoptions = self.failures = 0
        self.api_401s: Api401Memory = NO_API_401


_NONE = _Failures()
"""Never written to."""


class TokenState:
    """The cached token, the last failure, the API's 401s, and the counts.

    Moments (``now``, ``…_at``, ``…_until``) are seconds on the manager's monotonic clock, unless they say wall.

    Args:
        policy: The manager's.
        guard: Its lock; ``None`` = one of this one's own.
        carrier: How requests carry the provider's tokens.

    Attributes:
        cached: The token and its moments, replaced as a whole.
        failures: The last failure, the API's 401s, and how many there were. Shared by all that never had any.
        guard: Its lock, for callers that have to do several things at once.
        refreshes: How many tokens were fetched.
        waits: How many callers had to wait.
    """

    __slots__ = (
        "_carrier",
        "_durations",
        "_last_success",
        "_policy",
        "cached",
        "failures",
        "guard",
        "refreshes",
        "waits",
    )

    def __init__(self, policy: RefreshPolicy, guard: threading.RLock | None = None, carrier: Carrier = PLAIN) -> None:
        self._carrier = carrier
        self.cached = NOTHING
        self.refreshes = self.waits = 0
        self.guard = new_guard() if guard is None else guard
        self._policy = policy
        self.failures = _NONE
        self._durations = b""  # packed floats, the latest last: 37 to 65 bytes, where a deque takes 820
        self._last_success: float | None = None

    @property
    def failure(self) -> FailureMemory | None:
        """The failure since the last success; ``None`` = none."""
        return self.failures.failure

    def own_failures(self) -> _Failures:
        """Return what may be written to."""
        if self.failures is _NONE:
            self.failures = _Failures()
        return self.failures

    # What callers meet

    def may_try(self, now: float) -> bool:
        """Return whether nothing is being waited out, or a refused credential may have changed meanwhile."""
        failure = self.failure
        return failure is None or failure.may_try(now)

    def blocking_failure(self, now: float) -> AuthError | None:
        """Return the last failure for a caller who needs a token, if nothing is to be tried for now."""
        failure = self.failure
        if failure is None or not failure.fails_callers(now) or failure.may_try(now):
            return None
        return failure.seen(now)

    def due(self) -> float:
        """Return when the next refresh is due, by the token's windows and by what is being waited out."""
        fresh_until, failure = self.cached.fresh_until, self.failure
        return fresh_until if failure is None else max(fresh_until, failure.retry_at)

    # What the token endpoint says

    def cached_from(
        self,
        token: Token,
        *,
        before: CachedToken,
        sent_at: float,
        now: float,
        wall: float,
        unit_random: float,
        started: float | None = None,
        store_time: float = 0.0,
    ) -> CachedToken:
        """Return a fetched token as it is to be held. Of its times only the lifetime counts; the rest is by our clock.

        Args:
            token: The fetched one.
            before: What was held when its request was made.
            sent_at: When the request was sent.
            now: When the answer came.
            wall: The same moment by the wall clock, in Unix epoch seconds.
            unit_random: A random number from 0 to 1, for the jitter.
            started: When the try began. In a chain, or with a slow callable, what precedes the token request takes
                its time as well, and the next renewal must begin early enough for it. ``None`` = `sent_at`.
            store_time: Seconds that a refresh spends on calls to a shared store. Renewal begins so much earlier, too.

        Raises:
            InvalidTokenResponse: It can't be sent, or its lifetime is zero or less.
            TokenEndpointUnavailable: Its answer came when it was spent already.
        """
        lifetime = checked_lifetime(token, self._carrier)
        with self.guard:
            duration = _DURATION.pack(now - (sent_at if started is None else started))
            self._durations = (self._durations + duration)[-_REMEMBERED_DURATIONS * _DURATION.size :]
            slowest = self._slowest() + store_time
            again = token.value == before.token.value
            cached = self._cached(
                token,
                lifetime,
                sent_at=sent_at,
                now=now,
                wall=wall,
                unit_random=unit_random,
                slowest=slowest,
                again=again,
            )
        if cached.usable_until <= now:
            raise TokenEndpointUnavailable(
                f"the answer came too late: its token lives {lifetime:g} s, and the answer took {now - sent_at:.3g} s"
            )
        cached.replacement = before.api_401
        return cached

    def adoptable(
        self,
        token: Token,
        *,
        before: CachedToken,
        now: float,
        wall: float,
        unit_random: float,
        store_time: float = 0.0,
    ) -> CachedToken | None:
        """Return another process' token as it is to be held; ``None`` = it is not for us.

        It must be another than ours, and than the last that was refused. While ours is usable, it must be fresh by
        windows without jitter, or two processes would hand each other a token that both should renew; else any usable
        one will do.

        Args:
            token: The stored one; its times are by the writer's wall clock.
            before: What is held.
            now: The monotonic clock's seconds.
            wall: The same moment by the wall clock, in Unix epoch seconds.
            unit_random: A random number from 0 to 1, for the jitter.
            store_time: Seconds that a refresh spends on calls to the store.
        """
        if token.value in (before.token.value, self.failures.api_401s.last_dropped):
            return None
        try:
            lifetime = checked_lifetime(token, self._carrier)
        except InvalidTokenResponse:
            return None  # marked as refused
        age = 0.0 if lifetime is None else max(0.0, lifetime - expiry.left_of(token.expires_at, token.issued_at, wall))
        with self.guard:
            slowest = self._slowest() + store_time
            plain = self._policy.windows(lifetime, slowest=slowest)
            if age >= (plain.fresh if now < before.usable_until else plain.usable):
                return None
            cached = self._cached(
                token, lifetime, sent_at=now - age, now=now, wall=wall, unit_random=unit_random, slowest=slowest
            )
        if before.api_401:
            if cached.token.issued_at <= before.token.issued_at:
                return None  # older than the refused one: refused, too, most likely
            # Asked for since the refusal? Then a refusal of this one as well is no matter of its age.
            cached.replacement = now - age > before.since
        return cached

    def ends_about(self, now: float) -> bool:
        """Return whether a token that the server caches ends just now, give or take what servers round off.

        It then tells that the same token has nothing left, in whole seconds.
        """
        cached = self.cached
        lifetime = cached.token.lifetime
        if lifetime is None or not cached.again:
            return False
        end = cached.usable_until + lifetime - self._policy.windows(lifetime).usable
        return abs(now - end) <= _ROUNDED_OFF

    def install(self, cached: CachedToken, *, wall: float, adopted: bool = False) -> None:
        """Make an examined token the current one: a success.

        Args:
            cached: From `cached_from` or `adoptable`.
            wall: The wall clock, in Unix epoch seconds.
            adopted: Whether it is another process'.
        """
        with self.guard:
            before = self.cached.serving(cached.since)
            if cached.since < before.usable_until and before.token.value != cached.token.value:
                cached.predecessor = before.as_predecessor()
            self.cached = cached
            if self.failures is not _NONE:
                self.failures.failure = None
            self._last_success = wall
            if adopted:
                self.own_failures().adoptions += 1
            else:
                self.refreshes += 1

    def _slowest(self) -> float:
        """Return the seconds that the slowest of the last token requests took."""
        return max((duration for (duration,) in _DURATION.iter_unpack(self._durations)), default=0.0)

    def _cached(
        self,
        token: Token,
        lifetime: float | None,
        *,
        sent_at: float,
        now: float,
        wall: float,
        unit_random: float,
        slowest: float,
        again: bool = False,
    ) -> CachedToken:
        """Return a token with its times and windows by our own clocks; `again`: it is the one that was held before."""
        windows = (
            self._policy.windows_again(lifetime, slowest=slowest)
            if again
            else self._policy.windows(lifetime, slowest=slowest, unit_random=unit_random)
        )
        issued_at = wall - (now - sent_at)
        expires_at = None if lifetime is None else issued_at + lifetime
        return CachedToken(
            token=attrs.evolve(token, issued_at=issued_at, expires_at=expires_at),
            authorization=self._carrier.text(token),
            since=now,
            fresh_until=sent_at + windows.fresh,
            usable_until=sent_at + windows.usable,
            again=again,
        )

    def fail(
        self,
        error: AuthError,
        *,
        now: float,
        deadline: float,
        unit_random: float,
        shared: SharedHold | None = None,
        answered: Sequence[str | None] = (),
    ) -> FailureMemory:
        """Remember a failed try; see `remember_failure` for the arguments."""
        with self.guard:
            failure = remember_failure(
                error,
                self.failure,
                self._policy,
                now=now,
                deadline=deadline,
                unit_random=unit_random,
                shared=shared,
                answered=answered,
            )
            failures = self.own_failures()
            failures.failure = failure
            failures.failures += 1
            return failure

    def times_rejected(self, credential: str) -> int:
        """Return how often in a row this credential was rejected, by its digest."""
        failure = self.failure
        return 0 if failure is None else failure.times_rejected(credential)

    def clear_backoff(self, now: float) -> None:
        """Wait nothing out any more before the next try; what was remembered of failures still counts after it."""
        with self.guard:
            if self.failure is not None:
                self.own_failures().failure = self.failure.without_backoff(now)

    def ask(self, now: float) -> FailureMemory | None:
        """Note that a credential is looked at while its refusal is remembered; return that memory, which stays."""
        with self.guard:
            failure = self.failure
            if failure is not None:
                failure = self.own_failures().failure = failure.asked(self._policy, now)
            return failure

    def lose_refresh_token(self, before: CachedToken, *, successor: str | None = None) -> None:
        """Forget a refresh token that a request may have used up: no answer came, or none but its successor."""
        with self.guard:
            token = self.cached.token
            if token.value == before.token.value:
                self.cached = attrs.evolve(self.cached, token=attrs.evolve(token, refresh_token=successor))

    # What the API says

    def invalidate(self, token: Token, *, repeat: bool, now: float) -> float | None:
        """Take note, by hand, that the API answered a token with 401; see `after_401_by_hand`.

        Returns:
            As `After401.cooldown`.
        """
        with self.guard:
            cached, memory = self.cached, self.failures.api_401s
            return self._apply(after_401_by_hand(cached, memory, self._policy, token, repeat=repeat, now=now)).cooldown

    def note_api_401(self, sent: CachedToken, *, repeat: bool, foreign: bool, again: bool, now: float) -> After401:
        """Take note that the API answered a request with 401; see `after_401`."""
        with self.guard:
            cached, memory = self.cached, self.failures.api_401s
            return self._apply(
                after_401(cached, memory, self._policy, sent, repeat=repeat, foreign=foreign, again=again, now=now)
            )

    def _apply(self, after: After401) -> After401:
        """Make what is known after a 401 what is known."""
        self.cached = after.cached
        if after.memory is not self.failures.api_401s:
            self.own_failures().api_401s = after.memory
        return after

    def accept(self, token: Token, *, repeat: bool) -> None:
        """Take note that the API accepted a token; in the repeat after a 401, the cool-downs start over."""
        with self.guard:
            cached = self.cached
            if cached.is_token(token):
                if not cached.accepted:
                    self.cached = cached.without_predecessor(cached.token, accepted=True)
                if repeat and self.failures is not _NONE:
                    self.failures.api_401s = self.failures.api_401s.after_repeat()

    # What callers get

    def held(self) -> tuple[Token, ...]:
        """Return the token and the one before it, as far as there are any. A token may have expired."""
        cached = self.cached
        return tuple(each.token for each in (cached, cached.predecessor) if each is not None and each is not NOTHING)

    def forget(self, held: tuple[Token, ...]) -> None:
        """Hold no token any more, unless another one has taken the place of these meanwhile."""
        with self.guard:
            if self.held() == held:
                self.cached = NOTHING

    def hand_out(self, use: Use, now: float) -> CachedToken:
        """Return the token for a caller, one of the pair if the current one is unproven. Under the guard.

        Args:
            use: What it is for.
            now: The monotonic clock's seconds, before the end of either.
        """
        cached = self.cached
        if cached.predecessor is None:
            return cached
        predecessor, trial = cached.usable_predecessor(now), cached.trial
        if predecessor is None:
            return cached
        if trial is None or now >= cached.usable_until:
            return predecessor if waits_for_proof(use, cached.since, now) else cached.serving(now)
        if not trial.probes(use, now):
            return predecessor
        self.cached = attrs.evolve(cached, trial=trial.probed(now))
        return self.cached

    # What people see

    def phase(self, now: float) -> State:
        """Return in which part of its life the token is."""
        cached = self.cached
        if now < cached.fresh_until:
            return "fresh"
        return "empty" if cached.last is None else "stale" if now < cached.serving(now).usable_until else "spent"

    def status(
        self,
        provider: str,
        *,
        now: float,
        refreshing: bool,
        waiting: int,
        waiting_for: float | None = None,
        store: str | None = None,
    ) -> Status:
        """Return a snapshot for people."""
        from asyncauth.status import Status  # noqa: PLC0415 (its class takes as long to import as all of this one)

        with self.guard:
            cached, failures = self.cached, self.failures
            failure = failures.failure
            serving = cached.serving(now)
            usable = now < serving.usable_until
            blocked = failure is not None and failure.fails_callers(now)
            return Status(
                provider=provider,
                state=self.phase(now),
                refreshing=refreshing,
                cooling_down=blocked or failures.api_401s.cooling_down(now),
                seconds_left=expiry.finite(serving.usable_until - now) if usable else None,
                next_refresh_in=None if cached.last is None else expiry.finite(max(0.0, self.due() - now)),
                last_success_at=self._last_success,
                last_error=None if failure is None else f"{type(failure.error).__name__}: {failure.error}",
                refreshes=self.refreshes,
                adoptions=failures.adoptions,
                store=store,
                failures=failures.failures,
                rejections=failures.api_401s.drops,
                waits=self.waits,
                waiting=waiting,
                waiting_for=waiting_for,
                fingerprint=serving.token.fingerprint if usable else None,
            )
