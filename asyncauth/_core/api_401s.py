"""What is remembered of an API's 401s, and what one does: a drop, a cool-down, a trial, or nothing. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import attrs

from asyncauth._core.trial import YOUNG, Trial, pause_before_repeat
from asyncauth._core.waits import doubled
from asyncauth.policy import LONGEST_HOLD

if TYPE_CHECKING:
    from asyncauth._core.cached_token import CachedToken
    from asyncauth.policy import RefreshPolicy
    from asyncauth.token import Token

__all__ = [
    "ACCEPTED_AFTER",
    "NO_API_401",
    "After401",
    "Api401Memory",
    "after_401",
    "after_401_by_hand",
    "api_401_cooldown",
    "begin_cooldown",
    "remember_api_401",
]


ACCEPTED_AFTER = 5.0
"""Seconds after which a token that got no 401 counts as accepted by the API."""


def api_401_cooldown(policy: RefreshPolicy, times: int, *, foreign: bool = False) -> float:
    """Return the seconds for which the API's 401s change nothing, the nth consecutive time (from 1).

    Args:
        policy: The manager's.
        times: How many cool-downs there have been in a row, with this one.
        foreign: Whether only those 401s are meant whose challenges name other schemes: 1 h at most.
    """
    limit = policy.refusal_cooldown_limit
    return doubled(policy.refusal_cooldown, times, max(limit, LONGEST_HOLD) if foreign else limit)


@attrs.frozen
class Api401Memory:
    """The memory of the API's 401s. Instants are seconds of the manager's monotonic clock.

    Attributes:
        drops: How many tokens were dropped because of one.
        last_dropped: The value of the last of these tokens. A store may hold it long after it was replaced here.
        cooldowns: How many cool-downs have begun since a repeat last succeeded.
        began: When the last one began.
        cooldown: Seconds that the last cool-down takes.
        until: When the last cool-down ends.
        foreign_until: When it ends for 401s whose challenges name only other schemes than the token's. Later than
            `until` if such a 401 began it: a resource behind another scheme must not cost a token request per minute.
    """

    drops: int = 0
    last_dropped: str = attrs.field(default="", repr=False)
    cooldowns: int = 0
    began: float = -math.inf
    cooldown: float = 0.0
    until: float = -math.inf
    foreign_until: float = -math.inf

    def cooling_down(self, now: float, *, foreign: bool = True) -> bool:
        """Return whether 401s change nothing now: those with foreign challenges, or any."""
        return now < (self.foreign_until if foreign else self.until)

    def after_repeat(self) -> Api401Memory:
        """Return it after a repeat that succeeded: the next cool-down is as short as the first one."""
        return attrs.evolve(self, cooldowns=0)


NO_API_401 = Api401Memory()
"""There has been none."""


def begin_cooldown(before: Api401Memory, policy: RefreshPolicy, *, foreign: bool, now: float) -> Api401Memory:
    """Return what is remembered when a cool-down begins, in which the API's 401s change nothing."""
    cooldowns = before.cooldowns + 1
    cooldown = api_401_cooldown(policy, cooldowns, foreign=foreign)
    return attrs.evolve(
        before,
        cooldowns=cooldowns,
        began=now,
        cooldown=cooldown,
        until=now + api_401_cooldown(policy, cooldowns),
        foreign_until=max(before.foreign_until, now + cooldown),
    )


def remember_api_401(
    before: Api401Memory,
    policy: RefreshPolicy,
    *,
    token: str,
    since: float,
    replacement: bool,
    accepted: bool,
    repeat: bool,
    now: float,
    foreign: bool = False,
) -> Api401Memory:
    """Return what is remembered of a 401 to the current token.

    During a cool-down that is ``before`` itself: nothing changes. Otherwise the token is to be dropped, unless a
    cool-down begins now. It does if the token replaced one that got a 401, and gets one itself in the repeat of a
    request, or before the API has accepted it: a third token would hardly fare better.

    Args:
        before: What was remembered before it.
        policy: The manager's.
        token: The token's value.
        since: When it became the current one.
        replacement: Whether it was requested after its predecessor got a 401.
        accepted: Whether the API has answered it with anything but a 401.
        repeat: Whether it was sent in the repeat of a request that got a 401.
        now: Seconds on the manager's monotonic clock.
        foreign: Whether its challenges name only schemes other than the token's.
    """
    if before.cooling_down(now, foreign=foreign):
        return before
    if replacement and (repeat or not (accepted or now - since >= ACCEPTED_AFTER)):
        return begin_cooldown(before, policy, foreign=foreign, now=now)
    return attrs.evolve(before, drops=before.drops + 1, last_dropped=token)


class After401(NamedTuple):
    """What is known after an API's 401, and what follows from it.

    Attributes:
        cached: The cached token from now on.
        memory: What is remembered of 401s from now on.
        cooldown: Seconds of the cool-down that begins; 0.0: the token was dropped; ``None``: nothing changed.
        pause: Seconds after which the request is to be sent again with the same token; ``None``: it is not.
    """

    cached: CachedToken
    memory: Api401Memory
    cooldown: float | None = None
    pause: float | None = None


def after_401_by_hand(
    cached: CachedToken, memory: Api401Memory, policy: RefreshPolicy, token: Token, *, repeat: bool, now: float
) -> After401:
    """Return what follows from a 401 that a caller tells of.

    The token is dropped if it is the one that callers get, unless a cool-down begins or has begun: see
    `remember_api_401`. No predecessor takes its place: nobody would tell what becomes of that.

    Args:
        cached: The cached token.
        memory: What is remembered of 401s.
        policy: The manager's.
        token: The token that got a 401.
        repeat: Whether it was sent in the repeat of a request that got a 401.
        now: The monotonic clock's seconds.
    """
    predecessor = cached.predecessor
    if predecessor is not None and predecessor.is_token(token):
        return _predecessor_dropped(cached, memory, predecessor, foreign=False, now=now)
    if not cached.is_token(token) or cached.serving(now) is not cached:
        return After401(cached, memory)
    return _dropped(cached, memory, policy, repeat=repeat, foreign=False, now=now)


def after_401(
    cached: CachedToken,
    memory: Api401Memory,
    policy: RefreshPolicy,
    sent: CachedToken,
    *,
    repeat: bool,
    foreign: bool,
    again: bool,
    now: float,
) -> After401:
    """Return what follows from a request's 401.

    Its token is dropped if it is the current one, unless

    - a cool-down begins or has begun: see `remember_api_401`;
    - the token was accepted since it was sent: some servers did not know it then;
    - it is unproven, and its predecessor is usable: its trial begins, or goes on;
    - it is unproven and younger than 5 s: it is sent once more first, up to 1 s later.

    Args:
        cached: The cached token.
        memory: What is remembered of 401s.
        policy: The manager's.
        sent: What the request carried, as it was handed out.
        repeat: Whether the request had got a 401 before.
        foreign: Whether the 401's challenges name only schemes other than the token's.
        again: Whether the request can be sent again with the same token.
        now: The monotonic clock's seconds.
    """
    predecessor = cached.usable_predecessor(now)
    if not cached.is_token(sent.token):
        if predecessor is not None and predecessor.is_token(sent.token):
            return _predecessors_401(cached, memory, policy, predecessor, foreign=foreign, now=now)
        return After401(cached, memory)
    if cached.accepted and not sent.accepted:
        return After401(cached, memory, pause=0.0 if again else None)
    if predecessor is not None:
        return _unproven_401(cached, memory, policy, predecessor, sent, foreign=foreign, now=now)
    # One that was requested before its predecessor's 401 was revoked together with it, most likely.
    requested_before = repeat and not cached.replacement
    if again and not requested_before and _is_young(cached, memory, foreign=foreign, now=now):
        return After401(cached, memory, pause=pause_before_repeat(cached.since, now))
    return _dropped(cached, memory, policy, repeat=repeat, foreign=foreign, now=now)


def _is_young(cached: CachedToken, memory: Api401Memory, *, foreign: bool, now: float) -> bool:
    """Return whether the API may not know the token yet. Not if its value got a 401 before."""
    return (
        not cached.accepted
        and now < cached.since + YOUNG
        and cached.token.value != memory.last_dropped
        and not memory.cooling_down(now, foreign=foreign)
    )


def _unproven_401(
    cached: CachedToken,
    memory: Api401Memory,
    policy: RefreshPolicy,
    predecessor: CachedToken,
    sent: CachedToken,
    *,
    foreign: bool,
    now: float,
) -> After401:
    """Begin a new token's trial; end it, if the 401 is that of a last probe."""
    trial = cached.trial
    if trial is None:
        return After401(cached.on_trial(Trial.begun(now)), memory)
    if sent.trial is None or not sent.trial.last:
        return After401(cached, memory)
    after = remember_api_401(
        memory,
        policy,
        token=cached.token.value,
        since=now,  # its age says nothing for it: all that it got is 401s
        replacement=cached.replacement and memory.began < trial.since,  # one cool-down per token
        accepted=False,
        repeat=False,
        now=now,
        foreign=foreign,
    )
    return _decided(cached, memory, after, cached.after_api_401(now, predecessor))


def _predecessors_401(
    cached: CachedToken,
    memory: Api401Memory,
    policy: RefreshPolicy,
    predecessor: CachedToken,
    *,
    foreign: bool,
    now: float,
) -> After401:
    """Drop a predecessor; during a trial, in which neither is known to be good, begin a cool-down."""
    if cached.trial is None:
        return _predecessor_dropped(cached, memory, predecessor, foreign=foreign, now=now)
    if memory.cooling_down(now, foreign=foreign):
        return After401(cached, memory)
    return _decided(cached, memory, begin_cooldown(memory, policy, foreign=foreign, now=now), cached)


def _dropped(
    cached: CachedToken, memory: Api401Memory, policy: RefreshPolicy, *, repeat: bool, foreign: bool, now: float
) -> After401:
    """Drop the cached token, or begin a cool-down."""
    after = remember_api_401(
        memory,
        policy,
        token=cached.token.value,
        since=cached.since,
        replacement=cached.replacement,
        accepted=cached.accepted,
        repeat=repeat,
        now=now,
        foreign=foreign,
    )
    return _decided(cached, memory, after, cached.after_api_401(now))


def _predecessor_dropped(
    cached: CachedToken, memory: Api401Memory, predecessor: CachedToken, *, foreign: bool, now: float
) -> After401:
    """Do without a predecessor that got a 401. It counts as a drop if callers were getting it."""
    alone = cached.without_predecessor(cached.token, accepted=cached.accepted)
    if cached.serving(now) is not predecessor:
        return After401(alone, memory)
    if memory.cooling_down(now, foreign=foreign):
        return After401(cached, memory)
    return _decided(cached, memory, attrs.evolve(memory, drops=memory.drops + 1), alone)


def _decided(cached: CachedToken, before: Api401Memory, memory: Api401Memory, without: CachedToken) -> After401:
    """Return the outcome: ``without`` takes the token's place if what is remembered now counts one drop more."""
    if memory is before:
        return After401(cached, before)
    if memory.drops == before.drops:
        return After401(cached, memory, memory.cooldown)
    return After401(without, memory, 0.0)
