"""A shared store's entry: one account's token, with what the processes tell each other about it. Pure functions.

`Entry.rotations` decides which of two entries of an account counts; clocks do not. The count goes up by one whenever
the account's refresh token changes: when the server replaces it, when a primary grant brings another, and when it must
not be sent any more. Counting continues from the highest known count. A new family of refresh tokens therefore ranks
above the family before it, and a later member of a family above an earlier one. See `newest` and `is_later`.
"""

from __future__ import annotations

import math
from typing import Any, Self

import attrs
from attrs import validators

from asyncauth.expiry import left_of
from asyncauth.policy import LONGEST_HOLD
from asyncauth.token import Token

__all__ = ["LONGEST", "UNKNOWN_LIFETIME", "Entry", "Rejection", "is_later", "newest", "remains", "time_to_live"]

UNKNOWN_LIFETIME = 86400.0
"""Seconds for which a store keeps a token of unknown lifetime."""
REFRESH_TOKEN_LIFETIME = 30 * 86400.0
"""Seconds for which a store keeps an entry for its refresh token. Servers seldom state a refresh token's lifetime."""
REJECTION_MEMORY = 3600.0
"""Seconds for which a rejection is kept after its cool-down. If the credential is rejected again in that time, the
cool-down doubles."""
MOST_REJECTIONS = 8
"""The most rejected credentials that an entry remembers. A further one replaces the oldest."""
USE_MEMORY = 3600.0
"""Seconds for which an entry without a token is kept because a process is sending a refresh token from outside the
store."""
LONGEST = 1e11
"""Seconds (3,000 years): the longest that an entry is kept."""

MOST = 1 << 53
"""The largest count. A larger number in a stored entry makes it unreadable."""

_number = validators.instance_of((int, float))


def _count(least: int) -> Any:
    return validators.and_(validators.instance_of(int), validators.ge(least), validators.le(MOST))


@attrs.frozen(kw_only=True)
class Rejection:
    """A credential that the token endpoint rejected, and that no process should send again for a while.

    Attributes:
        digest: Identifies the credential. Too short to be the digest of one credential only: a reader of the store
            cannot confirm a guess with it.
        until: When it may be sent again, in Unix epoch seconds.
        times: How many times in a row it was rejected. Each time doubles the cool-down.
    """

    digest: str = attrs.field(repr=False, validator=validators.instance_of(str))
    until: float = attrs.field(validator=_number)
    times: int = attrs.field(validator=_count(1))


_rejections = validators.and_(
    validators.deep_iterable(validators.instance_of(Rejection), validators.instance_of(tuple)),
    validators.max_len(MOST_REJECTIONS),
)


@attrs.frozen(repr=False)
class Entry(Token):
    """A token as a shared store keeps it, with what the processes tell each other through the store.

    A store may treat it as any other token: `dumps` and `loads` preserve all fields, as does the object itself.
    Managers hand out plain tokens only.

    A mark may be kept without a token. Such an entry's ``value`` is empty, and it is expired, so that no process uses
    it as a token.

    Attributes:
        rotations: How many times the account's refresh token has changed (default 0). Of two entries, the one with the
            higher count is newer.
        in_use_since: Since when a process has been sending the refresh token, in Unix epoch seconds by the sender's
            clock; ``None`` (default): none is. It also identifies that sending, so stores return it exactly.
        rejections: The credentials that the token endpoint rejected, the latest first; at most 8 (default: none).
    """

    # One by one: set for the whole class, attrs below 25.4 makes the inherited fields keyword-only, too.
    rotations: int = attrs.field(default=0, validator=_count(0), kw_only=True)
    in_use_since: float | None = attrs.field(default=None, validator=validators.optional(_number), kw_only=True)
    rejections: tuple[Rejection, ...] = attrs.field(default=(), validator=_rejections, kw_only=True)

    @classmethod
    def of(cls, token: Token) -> Self:
        """Return a token as an entry. An entry is returned unchanged."""
        return token if isinstance(token, cls) else cls(**_fields_of(token))

    @classmethod
    def without_token(
        cls, *, now: float, rejections: tuple[Rejection, ...] = (), in_use_since: float | None = None
    ) -> Self:
        """Return an entry that holds only marks.

        Args:
            now: The wall clock, in Unix epoch seconds.
            rejections: See `Entry`.
            in_use_since: See `Entry`.
        """
        return cls("", issued_at=now, expires_at=now, rejections=rejections, in_use_since=in_use_since)

    @property
    def token(self) -> Token | None:
        """The plain token; ``None``: the entry holds none."""
        return Token(**_fields_of(self)) if self.value else None

    @property
    def holds_nothing(self) -> bool:
        """Whether the entry has neither a token nor a mark."""
        return not (self.value or self.rejections) and self.in_use_since is None

    def renewed(self, token: Token, *, accepted: str | None, now: float) -> Self:
        """Return the entry for a token that was obtained with this entry's.

        Args:
            token: The new token.
            accepted: The digest of the credential that brought it, whose rejection is removed; ``None``: it has none.
            now: The wall clock, in Unix epoch seconds.
        """
        changed = token.refresh_token != self.refresh_token
        left = tuple(each for each in self.known_rejections(now) if each.digest != accepted)
        return type(self)(**_fields_of(token), rotations=self._rotations_after(changed=changed), rejections=left)

    def with_refresh_token(self, refresh_token: str | None) -> Self:
        """Return the entry with another refresh token; ``None``: without one, since the current one may be used up."""
        rotations = self._rotations_after(changed=refresh_token != self.refresh_token)
        return attrs.evolve(self, refresh_token=refresh_token, rotations=rotations)

    def _rotations_after(self, *, changed: bool) -> int:
        return min(self.rotations + changed, MOST)  # a store may claim any count up to MOST

    def known_rejections(self, now: float) -> tuple[Rejection, ...]:
        """Return the rejections that ended at most `REJECTION_MEMORY` seconds ago, or have not ended.

        A rejection that ends later than any cool-down can is left out, too. Either the writer's clock was set back
        since, or an attacker wants to keep processes from sending the credential.

        Args:
            now: The wall clock, in Unix epoch seconds.
        """
        # NaN compares as neither less nor more, so it is left out, too.
        return tuple(each for each in self.rejections if -REJECTION_MEMORY < each.until - now < 2 * LONGEST_HOLD)

    def with_rejection(self, rejection: Rejection, now: float) -> Self:
        """Return the entry with a rejection, which replaces an earlier one of the same credential.

        Args:
            rejection: The rejection.
            now: The wall clock, in Unix epoch seconds.
        """
        others = (each for each in self.known_rejections(now) if each.digest != rejection.digest)
        return attrs.evolve(self, rejections=(rejection, *others)[:MOST_REJECTIONS])

    def moved(self, seconds: float) -> Self:
        """Return the entry with its times converted to a clock that is ``seconds`` ahead of the writer's."""
        return attrs.evolve(
            self,
            issued_at=self.issued_at + seconds,
            expires_at=None if self.expires_at is None else self.expires_at + seconds,
            rejections=tuple(attrs.evolve(each, until=each.until + seconds) for each in self.rejections),
        )

    def __repr__(self) -> str:
        marks = {"rotations": self.rotations, "in_use_since": self.in_use_since, "rejections": self.rejections}
        shown = [f"{name}={mark!r}" for name, mark in marks.items() if mark]
        return " ".join([f"<Entry {super().__repr__()[len('<Token ') : -1]}", *shown]) + ">"


def _fields_of(token: Token) -> dict[str, Any]:
    return {field.name: getattr(token, field.name) for field in attrs.fields(Token)}


def newest(stored: Entry | None, held: Entry | None) -> Entry | None:
    """Return the entry whose refresh token is to be sent, with the rejections that the store knows.

    That is the one with the higher `Entry.rotations`; if they are equal, the stored one, which all processes see.
    Clocks do not matter: if a store was restored to an older state, the newer entry of a process wins.

    Args:
        stored: The store's entry.
        held: The latest entry that this process has seen or obtained.
    """
    if held is None or (stored is not None and stored.rotations >= held.rotations):
        return stored
    return attrs.evolve(held, in_use_since=None, rejections=() if stored is None else stored.rejections)


def is_later(entry: Entry, other: Entry) -> bool:
    """Return whether an entry is later than another: by rotations, or if they are equal, by time."""
    return (entry.rotations, entry.issued_at) > (other.rotations, other.issued_at)


def remains(token: Token) -> Token | None:
    """Return what a store keeps of an entry after an API 401 to its access token; ``None``: nothing.

    A refresh token or a mark must survive the 401: the entry is kept, with an access token that is spent. An entry
    without an access token is not kept.
    """
    entry = Entry.of(token)
    kept = entry.refresh_token is not None or entry.rotations or entry.rejections or entry.in_use_since is not None
    return attrs.evolve(token, expires_at=token.issued_at) if entry.value and kept else None


def time_to_live(token: Token, now: float) -> float:
    """Return the seconds after which an entry is of no more use; 0 or less: it is of no use already.

    Args:
        token: The entry.
        now: The wall clock, in Unix epoch seconds.
    """
    entry = Entry.of(token)
    left = left_of(entry.expires_at, entry.issued_at, now)
    remembered = max((each.until - now + REJECTION_MEMORY for each in entry.rejections), default=-math.inf)
    if entry.in_use_since is not None:
        remembered = max(remembered, entry.in_use_since - now + USE_MEMORY)
    remembered = min(remembered, LONGEST)
    if entry.refresh_token is not None or entry.rotations:  # a process may still hold an older entry
        expires_in = entry.extra.get("refresh_expires_in")
        if isinstance(expires_in, bool) or not isinstance(expires_in, (int, float)) or not expires_in > 0:  # NaN
            expires_in = REFRESH_TOKEN_LIFETIME
        return max(float(min(expires_in, LONGEST)), left if math.isfinite(left) else 0.0, remembered)
    return max(UNKNOWN_LIFETIME if left == math.inf else left, remembered)
