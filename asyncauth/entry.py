"""What a shared store keeps of one account: a token, and what every process should know besides. Pure.

Which of two entries of an account counts is decided by `Entry.rotations`, never by a clock. The count goes up by one
whenever the account's refresh token changes: when the server replaces it, when a primary grant brings another, and when
it must not be sent any more. It goes on from the highest count that is known, so a new family of refresh tokens counts
more than the one before it, and a later member of a family more than an earlier one. See `newest` and `is_later`.
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
"""Seconds for which a token of unknown lifetime is kept."""
REFRESH_TOKEN_LIFETIME = 30 * 86400.0
"""Seconds for which an entry is kept for the sake of its refresh token, whose own lifetime servers seldom tell."""
REJECTION_MEMORY = 3600.0
"""Seconds for which a rejection is kept after its end: rejected again by then, the credential rests for longer."""
MOST_REJECTIONS = 8
"""Rejected credentials that an entry remembers; a further one replaces the oldest."""
USE_MEMORY = 3600.0
"""Seconds for which an entry without a token is kept because a refresh token from elsewhere is being sent."""
LONGEST = 1e11
"""Seconds, three thousand years: no entry need be kept for longer."""

MOST = 1 << 53
"""No count is larger: what claims to be is not a count."""

_number = validators.instance_of((int, float))


def _count(least: int) -> Any:
    return validators.and_(validators.instance_of(int), validators.ge(least), validators.le(MOST))


@attrs.frozen(kw_only=True)
class Rejection:
    """A credential that the token endpoint rejected, and that no process should send again for a while.

    Attributes:
        digest: What tells the credential from another. Too short to be the credential's alone: a reader of the store
            who guesses can't tell whether a guess is right.
        until: When it may be sent again, in Unix epoch seconds.
        times: How often it was rejected in a row; each doubles the time.
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

    Stores need not know it: what `dumps` writes, and `loads` gives, holds all of it, and so does the object itself.
    Managers hand out plain tokens only.

    A mark is kept although there may be none: such an entry's ``value`` is empty, and it is expired, so that nobody
    takes it for a token.

    Attributes:
        rotations: How often the account's refresh token has changed. Of two entries the one with more counts.
        in_use_since: Since when the refresh token is being sent, in Unix epoch seconds by the sender's clock; ``None``:
            it is not. It also tells one sending from another, so stores give it back exactly.
        rejections: The credentials that the token endpoint rejected, the latest first; at most 8.
    """

    # Each by itself: of a class, attrs below 25.4 makes the inherited fields keyword-only as well.
    rotations: int = attrs.field(default=0, validator=_count(0), kw_only=True)
    in_use_since: float | None = attrs.field(default=None, validator=validators.optional(_number), kw_only=True)
    rejections: tuple[Rejection, ...] = attrs.field(default=(), validator=_rejections, kw_only=True)

    @classmethod
    def of(cls, token: Token) -> Self:
        """Return a token as an entry; one that is an entry already, as it is."""
        return token if isinstance(token, cls) else cls(**_fields_of(token))

    @classmethod
    def without_token(
        cls, *, now: float, rejections: tuple[Rejection, ...] = (), in_use_since: float | None = None
    ) -> Self:
        """Return an entry that holds marks alone.

        Args:
            now: The wall clock, in Unix epoch seconds.
            rejections: See `rejections`.
            in_use_since: See `in_use_since`.
        """
        return cls("", issued_at=now, expires_at=now, rejections=rejections, in_use_since=in_use_since)

    @property
    def token(self) -> Token | None:
        """The plain token; ``None``: the entry holds none."""
        return Token(**_fields_of(self)) if self.value else None

    @property
    def holds_nothing(self) -> bool:
        """Whether there is neither a token nor a mark in it."""
        return not (self.value or self.rejections) and self.in_use_since is None

    def renewed(self, token: Token, *, accepted: str | None, now: float) -> Self:
        """Return the entry of a token that was obtained with this one.

        Args:
            token: The new token.
            accepted: The mark of the credential that brought it: the server does not reject that any more. ``None``:
                it has none.
            now: The wall clock, in Unix epoch seconds.
        """
        changed = token.refresh_token != self.refresh_token
        left = tuple(each for each in self.known_rejections(now) if each.digest != accepted)
        return type(self)(**_fields_of(token), rotations=self._rotations_after(changed=changed), rejections=left)

    def with_refresh_token(self, refresh_token: str | None) -> Self:
        """Return it with another refresh token; ``None``: with none, since the one it holds may be used up."""
        rotations = self._rotations_after(changed=refresh_token != self.refresh_token)
        return attrs.evolve(self, refresh_token=refresh_token, rotations=rotations)

    def _rotations_after(self, *, changed: bool) -> int:
        return min(self.rotations + changed, MOST)  # a store may claim any count that can be read

    def known_rejections(self, now: float) -> tuple[Rejection, ...]:
        """Return the rejections, but for those that are over for so long that they are forgotten.

        One that ends later than any can was written by a clock that was set back since, or by somebody who wants to
        keep processes out: it counts as forgotten, too.

        Args:
            now: The wall clock, in Unix epoch seconds.
        """
        # NaN is neither less nor more, and forgotten as well.
        return tuple(each for each in self.rejections if -REJECTION_MEMORY < each.until - now < 2 * LONGEST_HOLD)

    def with_rejection(self, rejection: Rejection, now: float) -> Self:
        """Return it with a rejection, in place of the one of the same credential if there is one.

        Args:
            rejection: The rejection.
            now: The wall clock, in Unix epoch seconds.
        """
        others = (each for each in self.known_rejections(now) if each.digest != rejection.digest)
        return attrs.evolve(self, rejections=(rejection, *others)[:MOST_REJECTIONS])

    def moved(self, seconds: float) -> Self:
        """Return it with its times by a clock that is so many seconds ahead of the one that they were written by."""
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
    """Return the entry whose refresh token is to be sent, with the rejections that the store knows of.

    That is the one with more `Entry.rotations`; of equals the stored one, which all processes see. No clock has a part
    in it: a store that was set back to an older state loses against a process that has seen a later one.

    Args:
        stored: What the store has.
        held: The latest that this process has seen or obtained.
    """
    if held is None or (stored is not None and stored.rotations >= held.rotations):
        return stored
    return attrs.evolve(held, in_use_since=None, rejections=() if stored is None else stored.rejections)


def is_later(entry: Entry, other: Entry) -> bool:
    """Return whether an entry is later than another: by rotations, and by their times where these are equal."""
    return (entry.rotations, entry.issued_at) > (other.rotations, other.issued_at)


def remains(token: Token) -> Token | None:
    """Return what a store keeps of an entry whose access token was refused.

    Nothing; or, where there is a refresh token or a mark, the entry with an access token that is spent: neither must be
    lost to a refusal of the access token. Nothing remains of an entry without an access token.
    """
    entry = Entry.of(token)
    kept = entry.refresh_token is not None or entry.rotations or entry.rejections or entry.in_use_since is not None
    return attrs.evolve(token, expires_at=token.issued_at) if entry.value and kept else None


def time_to_live(token: Token, now: float) -> float:
    """Return the seconds after which an entry is of no use to anybody; 0 or less = it is of none already.

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
    if entry.refresh_token is not None or entry.rotations:  # which a process may still hold
        expires_in = entry.extra.get("refresh_expires_in")
        if isinstance(expires_in, bool) or not isinstance(expires_in, (int, float)) or not expires_in > 0:  # NaN
            expires_in = REFRESH_TOKEN_LIFETIME
        return max(float(min(expires_in, LONGEST)), left if math.isfinite(left) else 0.0, remembered)
    return max(UNKNOWN_LIFETIME if left == math.inf else left, remembered)
