"""The state of a manager's token: what is known of it, and how that changes. No I/O; callers pass the time.

Every method may be called from any thread.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import attrs

from asyncauth import expiry
from asyncauth._base.forks import new_guard
from asyncauth._core.api_401s import NO_API_401, Api401Memory, after_401, after_401_by_hand
from asyncauth._core.cached_token import NOTHING, CachedToken, Fallback, checked_lifetime
from asyncauth._core.failures import FailureMemory, SharedHold, remember_failure
from asyncauth._core.trial import Use, waits_for_proof
from asyncauth._http.carrier import PLAIN, Carrier
from asyncauth.errors import AuthError, InvalidTokenResponse, TokenEndpointUnavailable
from asyncauth.token import with_times

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from asyncauth._core.api_401s import After401
    from asyncauth.policy import RefreshPolicy, Windows
    from asyncauth.status import State
    from asyncauth.token import Token

__all__ = ["TokenState"]


_ROUNDED_OFF = 2.0
"""Seconds by which a token's expiry may differ between server and manager, since lifetimes come in whole seconds."""

_DURATION = struct.Struct("f")
_DURATIONS_SIZE = 8 * _DURATION.size
"""Bytes of the token requests' durations that are remembered: eight."""


class _Failures:
    """The state that only a manager with failures has. Of 100,000 managers, most have none."""

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
        policy: The manager's policy.
        guard: The manager's lock; ``None`` (default): a new one.

    Attributes:
        cached: The token and its moments, replaced as a whole.
        failures: The last failure, the API's 401s, and how many there were. All states without any share one object.
        guard: The lock, for callers that take several steps under it.
        last_success: The wall clock at the last success, in Unix epoch seconds; ``None``: there has been none.
        refreshes: How many tokens were fetched.
        waits: How many callers had to wait.
    """

    __slots__ = (
        "_durations",
        "_policy",
        "cached",
        "failures",
        "guard",
        "last_success",
        "refreshes",
        "waits",
    )

    def __init__(self, policy: RefreshPolicy, guard: threading.RLock | None = None) -> None:
        self.cached = NOTHING
        self.refreshes = self.waits = 0
        self.guard = new_guard() if guard is None else guard
        self._policy = policy
        self.failures = _NONE
        self._durations = b""  # packed floats, the latest last: 37 to 65 bytes, where a deque takes 820
        self.last_success: float | None = None

    @property
    def failure(self) -> FailureMemory | None:
        """The failure since the last success; ``None``: there is none."""
        return self.failures.failure

    def own_failures(self) -> _Failures:
        """Return this state's own failures, which may be changed."""
        if self.failures is _NONE:
            self.failures = _Failures()
        return self.failures

    # What callers meet

    def may_try(self, now: float) -> bool:
        """Return whether no wait is in force, or a rejected credential may have changed meanwhile."""
        failure = self.failure
        return failure is None or failure.may_try(now)

    def blocking_failure(self, now: float) -> AuthError | None:
        """Return the error for a caller that needs a token while no try may be made; ``None``: a try may be made."""
        failure = self.failure
        if failure is None or not failure.fails_callers(now) or failure.may_try(now):
            return None
        return failure.seen(now)

    def due(self) -> float:
        """Return when the next refresh is due, by the token's windows and the wait in force."""
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
        carrier: Carrier = PLAIN,
    ) -> CachedToken:
        """Return a fetched token as it is cached. Only its lifetime counts; its times are set by this process's clock.

        Args:
            token: The fetched token.
            before: What was cached when its request was made.
            sent_at: When the request was sent.
            now: When the answer came.
            wall: The same moment by the wall clock, in Unix epoch seconds.
            unit_random: A random number from 0 to 1, for the jitter.
            started: When the try began. In a chain, or with a slow callable, the work before the token request takes
                time, too, and the next renewal must begin early enough for it. ``None`` (default): `sent_at`.
            store_time: Seconds that a refresh spends on calls to a shared store. Renewal begins earlier by that time.
            carrier: How requests carry the token.

        Raises:
            InvalidTokenResponse: The token can't be sent, or its lifetime is zero or less.
            TokenEndpointUnavailable: The token was already spent when the answer came.
        """
        lifetime = checked_lifetime(token, carrier)
        with self.guard:
            duration = _DURATION.pack(now - (sent_at if started is None else started))
            self._durations = (self._durations + duration)[-_DURATIONS_SIZE:]
            slowest = self._slowest() + store_time
        policy, again = self._policy, token.value == before.token.value
        windows = (
            policy.windows_again(lifetime, slowest=slowest)
            if again
            else policy.windows(lifetime, slowest=slowest, unit_random=unit_random)
        )
        cached = _cached(token, lifetime, windows, sent_at=sent_at, now=now, wall=wall, carrier=carrier)
        cached.again = again
        if cached.usable_until <= now:
            raise TokenEndpointUnavailable(
                f"the answer came too late: its token lives {lifetime:g} s, and the answer took {now - sent_at:.3g} s",
                advice="ask the server's operator why it is so slow",
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
        carrier: Carrier = PLAIN,
    ) -> CachedToken | None:
        """Return another process' token as it is cached; ``None``: this process can't use it.

        It must differ from the current token and from the last one that was dropped for a 401. While the current token
        is usable, the stored one must be fresh by windows without jitter: otherwise two processes would adopt a token
        from each other that both should renew. If the current token is spent, any usable token will do.

        Args:
            token: The stored token; its times are by the writer's wall clock.
            before: What is cached now.
            now: The monotonic clock's seconds.
            wall: The same moment by the wall clock, in Unix epoch seconds.
            unit_random: A random number from 0 to 1, for the jitter.
            store_time: Seconds that a refresh spends on calls to the store.
            carrier: How requests carry the token.
        """
        if token.value in (before.token.value, self.failures.api_401s.last_dropped):
            return None
        try:
            lifetime = checked_lifetime(token, carrier)
        except InvalidTokenResponse:
            return None  # such as an entry that was marked for an API 401
        age = 0.0 if lifetime is None else max(0.0, lifetime - expiry.left_of(token.expires_at, token.issued_at, wall))
        with self.guard:
            slowest = self._slowest() + store_time
            plain = self._policy.windows(lifetime, slowest=slowest)
            if age >= (plain.fresh if now < before.usable_until else plain.usable):
                return None
            windows = self._policy.windows(lifetime, slowest=slowest, unit_random=unit_random)
            cached = _cached(token, lifetime, windows, sent_at=now - age, now=now, wall=wall, carrier=carrier)
        if before.api_401:
            if cached.token.issued_at <= before.token.issued_at:
                return None  # older than the token that got a 401, so most likely it would get one, too
            # A token that was requested after that 401 is a replacement: its age is not the reason for a further 401.
            cached.replacement = now - age > before.since
        return cached

    def ends_about(self, now: float) -> bool:
        """Return whether a token that the server caches expires now, within what servers round off.

        The server then returns the same token again, with a lifetime of 0 s.
        """
        cached = self.cached
        lifetime = cached.token.lifetime
        if lifetime is None or not cached.again:
            return False
        end = cached.usable_until + lifetime - self._policy.windows(lifetime).usable
        return abs(now - end) <= _ROUNDED_OFF

    def install(self, cached: CachedToken, *, wall: float, adopted: bool = False) -> None:
        """Make a checked token the current one, and count a success.

        Args:
            cached: From `cached_from` or `adoptable`.
            wall: The wall clock, in Unix epoch seconds.
            adopted: Whether it was adopted from another process.
        """
        with self.guard:
            before = self.cached.serving(cached.since)
            if cached.since < before.usable_until and before.token.value != cached.token.value:
                cached.fallback = Fallback(before.as_predecessor(cached.token))
            self.cached = cached
            if self.failures is not _NONE:
                self.failures.failure = None
            self.last_success = wall
            if adopted:
                self.own_failures().adoptions += 1
            else:
                self.refreshes += 1

    def _slowest(self) -> float:
        """Return the seconds that the slowest of the last token requests took."""
        return max(memoryview(self._durations).cast("f"), default=0.0)

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
                error.again(),  # without its traceback, whose frames hold the whole refresh
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
        """End the wait in force, so that the next try is made at once. The remembered failures still count after it."""
        with self.guard:
            if self.failure is not None:
                self.own_failures().failure = self.failure.without_backoff(now)

    def ask(self, now: float) -> FailureMemory | None:
        """Note that a rejected credential's callable is called again during the cool-down; return the memory of it."""
        with self.guard:
            failure = self.failure
            if failure is not None:
                failure = self.own_failures().failure = failure.asked(self._policy, now)
            return failure

    def lose_refresh_token(self, before: CachedToken, *, successor: str | None = None) -> None:
        """Forget a refresh token that a request may have used up; ``successor`` is the new one, if one came."""
        with self.guard:
            token = self.cached.token
            if token.value == before.token.value:
                self.cached = attrs.evolve(self.cached, token=attrs.evolve(token, refresh_token=successor))

    # What the API says

    def invalidate(self, token: Token, *, repeat: bool, now: float) -> float | None:
        """Note that a caller reported a 401 to a token; see `after_401_by_hand`.

        Returns:
            See `After401.cooldown`.
        """
        with self.guard:
            cached, memory = self.cached, self.failures.api_401s
            return self._apply(after_401_by_hand(cached, memory, self._policy, token, repeat=repeat, now=now)).cooldown

    def note_api_401(self, sent: CachedToken, *, repeat: bool, foreign: bool, again: bool, now: float) -> After401:
        """Note that the API answered a request with 401; see `after_401`."""
        with self.guard:
            cached, memory = self.cached, self.failures.api_401s
            return self._apply(
                after_401(cached, memory, self._policy, sent, repeat=repeat, foreign=foreign, again=again, now=now)
            )

    def _apply(self, after: After401) -> After401:
        """Take over the state after a 401."""
        self.cached = after.cached
        if after.memory is not self.failures.api_401s:
            self.own_failures().api_401s = after.memory
        return after

    def accept(self, token: Token, *, repeat: bool) -> None:
        """Note that the API accepted a token. If that was a repeat after a 401, the cool-downs start over."""
        with self.guard:
            cached = self.cached
            if cached.is_token(token):
                if not cached.accepted:
                    self.cached = cached.without_predecessor(cached.token, accepted=True)
                if repeat and self.failures is not _NONE:
                    self.failures.api_401s = self.failures.api_401s.after_repeat()

    # What callers get

    def held(self) -> tuple[Token, ...]:
        """Return the current token and its predecessor, if there are any. Both may have expired."""
        cached = self.cached
        return tuple(each.token for each in (cached, cached.predecessor) if each is not None and each is not NOTHING)

    def forget(self, held: tuple[Token, ...]) -> None:
        """Drop all tokens, unless they are no longer the ones in ``held``."""
        with self.guard:
            if self.held() == held:
                self.cached = NOTHING

    def hand_out(self, use: Use, now: float) -> CachedToken:
        """Return the token for a caller: the current one, or its predecessor if that serves in its place.

        Called under the guard.

        Args:
            use: What the caller uses it for.
            now: The monotonic clock's seconds, at which at least one of the two is usable.
        """
        cached = self.cached
        if cached.fallback is None:
            return cached
        predecessor, trial = cached.usable_predecessor(now), cached.fallback.trial
        if predecessor is None:
            return cached
        if trial is None or now >= cached.usable_until:
            return predecessor if waits_for_proof(use, cached.since, now) else cached.serving(now)
        if not trial.probes(use, now):
            return predecessor
        self.cached = cached.on_trial(trial.probed(now))
        return self.cached

    # What people see

    def phase(self, now: float) -> State:
        """Return the token's state: empty, fresh, stale or spent."""
        cached = self.cached
        if now < cached.fresh_until:
            return "fresh"
        return "empty" if cached.last is None else "stale" if now < cached.serving(now).usable_until else "spent"


def _cached(
    token: Token, lifetime: float | None, windows: Windows, *, sent_at: float, now: float, wall: float, carrier: Carrier
) -> CachedToken:
    """Return a token with its times and windows by this process's clocks; see `TokenState.cached_from`."""
    issued_at = wall - (now - sent_at)
    token = with_times(token, issued_at, None if lifetime is None else issued_at + lifetime)
    authorization = token.authorization if carrier is PLAIN else carrier.text(token)
    return CachedToken(token, authorization, now, sent_at + windows.fresh, sent_at + windows.usable)
