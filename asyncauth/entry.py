"""What a shared store keeps of one account: a token, and what every process should know besides. Pure."""

from __future__ import annotations

import math
from typing import Any, Self

import attrs
from attrs import validators

from asyncauth.expiry import left_of
from asyncauth.policy import LONGEST_HOLD
from asyncauth.token import Token

__all__ = ["LONGEST", "UNKNOWN_LIFETIME", "Entry", "Rejection", "remains", "time_to_live"]

UNKNOWN_LIFETIME = 86400.0
"""Seconds for which a token of unknown lifetime is kept."""
REFRESH_TOKEN_LIFETIME = 30 * 86400.0
"""Seconds for which an entry is kept for the sake of its refresh token, whose own lifetime servers seldom tell."""
REJECTION_MEMORY = 3600.0
"""Seconds for which a rejection is kept after its end: rejected again by then, the credential rests for longer."""
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


@attrs.frozen(repr=False)
class Entry(Token):
    """A token as a shared store keeps it, with what the processes tell each other through the store.

    Stores need not know it: what `dumps` writes, and `loads` gives, holds all of it, and so does the object itself.
    Managers hand out plain tokens only.

    A rejected credential is remembered although there may be no token: such an entry's ``value`` is empty, and it is
    expired, so that nobody takes it for a token.

    Attributes:
        rotations: How often the server has replaced the refresh token since the first one.
        in_use_since: Since when the refresh token is being sent, in Unix epoch seconds; ``None``: it is not.
        rejection: The credential that the token endpoint rejected; ``None``: it has accepted the last one.
    """

    # Each by itself: of a class, attrs below 25.4 makes the inherited fields keyword-only as well.
    rotations: int = attrs.field(default=0, validator=_count(0), kw_only=True)
    in_use_since: float | None = attrs.field(default=None, validator=validators.optional(_number), kw_only=True)
    rejection: Rejection | None = attrs.field(
        default=None, validator=validators.optional(validators.instance_of(Rejection)), kw_only=True
    )

    @classmethod
    def of(cls, token: Token) -> Self:
        """Return a token as an entry; one that is an entry already, as it is."""
        return token if isinstance(token, cls) else cls(**_fields_of(token))

    @classmethod
    def without_token(cls, *, rejection: Rejection, now: float) -> Self:
        """Return an entry that holds a rejection alone.

        Args:
            rejection: The rejection.
            now: The wall clock, in Unix epoch seconds.
        """
        return cls("", issued_at=now, expires_at=now, rejection=rejection)

    def known_rejection(self, now: float) -> Rejection | None:
        """Return the rejection, unless it is over for so long that it is forgotten.

        One that ends later than any can was written by a clock that was set back since, or by somebody who wants to
        keep processes out: it counts as forgotten, too.

        Args:
            now: The wall clock, in Unix epoch seconds.
        """
        rejection = self.rejection
        if rejection is None or not -REJECTION_MEMORY < rejection.until - now < 2 * LONGEST_HOLD:  # nor is NaN
            return None
        return rejection

    @property
    def token(self) -> Token | None:
        """The plain token; ``None``: the entry holds none."""
        return Token(**_fields_of(self)) if self.value else None

    def __repr__(self) -> str:
        marks = {"rotations": self.rotations, "in_use_since": self.in_use_since, "rejection": self.rejection}
        shown = [f"{name}={mark!r}" for name, mark in marks.items() if mark]
        return " ".join([f"<Entry {super().__repr__()[len('<Token ') : -1]}", *shown]) + ">"


def _fields_of(token: Token) -> dict[str, Any]:
    return {field.name: getattr(token, field.name) for field in attrs.fields(Token)}


def remains(token: Token) -> Token | None:
    """Return what a store keeps of an entry whose access token was refused.

    Nothing; or, where there is a refresh token or a rejection to be remembered, the entry with an access token that is
    spent: neither must be lost to a refusal of the access token.
    """
    kept = token.refresh_token is not None or _rejection_of(token) is not None
    return attrs.evolve(token, expires_at=token.issued_at) if kept else None


def time_to_live(token: Token, now: float) -> float:
    """Return the seconds after which an entry is of no use to anybody; 0 or less = it is of none already.

    Args:
        token: The entry.
        now: The wall clock, in Unix epoch seconds.
    """
    left = left_of(token.expires_at, token.issued_at, now)
    rejection = _rejection_of(token)
    remembered = -math.inf if rejection is None else min(rejection.until - now, LONGEST) + REJECTION_MEMORY
    if token.refresh_token is not None:
        expires_in = token.extra.get("refresh_expires_in")
        if isinstance(expires_in, bool) or not isinstance(expires_in, (int, float)) or not expires_in > 0:  # NaN
            expires_in = REFRESH_TOKEN_LIFETIME
        return max(float(min(expires_in, LONGEST)), left if math.isfinite(left) else 0.0, remembered)
    return max(UNKNOWN_LIFETIME if left == math.inf else left, remembered)


def _rejection_of(token: Token) -> Rejection | None:
    return token.rejection if isinstance(token, Entry) else None
