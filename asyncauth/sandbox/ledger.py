"""The server's record of its tokens: which are valid, by its own monotonic clock."""

from __future__ import annotations

import enum
from collections import deque
from typing import TYPE_CHECKING

import attrs

from asyncauth.sandbox.wire import fingerprint as fingerprint_of

if TYPE_CHECKING:
    from collections.abc import Container

    from asyncauth.sandbox.details import Why

_FIRST_SWEEP = 4096
_REMEMBERED = 4096
"""How many revoked tokens are remembered, to distinguish them from unknown ones."""


@attrs.define
class Entry:
    """One token: its kind, the monotonic seconds of its issue and expiry, its family, and whether it was used up."""

    kind: str
    issued_at: float
    dies_at: float
    family: str | None = None
    spent: bool = False


@attrs.frozen
class Living:
    """A valid token, as it may be shown.

    Attributes:
        fingerprint: The first 8 hex digits of its SHA-256, as in clients' logs.
        kind: Its kind.
        issued_at: When it was issued, in seconds on the monotonic clock.
        dies_at: When it expires, on the same clock.
    """

    fingerprint: str
    kind: str
    issued_at: float
    dies_at: float


class Use(enum.Enum):
    """The outcome of using a refresh token."""

    ACCEPTED = "accepted"
    UNKNOWN = "unknown"
    REUSED = "reused"


@attrs.define
class Ledger:
    """All tokens of one system. Each is valid for exactly its lifetime, unless it is revoked."""

    _entries: dict[str, Entry] = attrs.field(factory=dict[str, Entry], init=False, repr=False)
    _sweep_at: int = attrs.field(default=_FIRST_SWEEP, init=False, repr=False)
    _revoked: deque[str] = attrs.field(factory=lambda: deque[str](maxlen=_REMEMBERED), init=False, repr=False)

    def issue(self, value: str, kind: str, *, lifetime: float, now: float, family: str | None = None) -> None:
        """Record a token that is valid for ``lifetime`` seconds from ``now`` (monotonic seconds)."""
        if len(self._entries) >= self._sweep_at:
            self._sweep(now)
        self._entries[value] = Entry(kind, now, now + lifetime, family)

    def alive(self, value: str | None, kinds: Container[str], now: float) -> bool:
        """Return whether this is a token of one of the kinds that is valid at ``now``."""
        entry = None if value is None else self._entries.get(value)
        return entry is not None and entry.kind in kinds and now < entry.dies_at

    def why_not(self, value: str, kinds: Container[str], now: float) -> Why | None:
        """Return a code for why `alive` is ``False``; ``None``: it is ``True``."""
        entry = self._entries.get(value)
        if entry is None:
            return "revoked_token" if value in self._revoked else "unknown_token"
        if entry.kind not in kinds:
            return "other_kind"
        if now >= entry.dies_at:
            return "expired_token"
        return "reused_token" if entry.spent else None

    def use(self, value: str, kind: str, *, now: float, spend: bool) -> tuple[Use, str | None]:
        """Use a refresh token; ``spend`` uses it up.

        Returns:
            The outcome, and the token's family. Using a token again after it was spent revokes its whole family, with
            access tokens (RFC 9700 §4.14.2).
        """
        entry = self._entries.get(value)
        if entry is None or entry.kind != kind or now >= entry.dies_at:
            return Use.UNKNOWN, None
        if entry.spent:
            self._revoke_family(entry.family)
            return Use.REUSED, entry.family
        entry.spent = spend
        return Use.ACCEPTED, entry.family

    def revoke(self, kinds: Container[str] | None = None) -> int:
        """Revoke the tokens of these kinds, or all; return how many there were."""
        return self._end([value for value, entry in self._entries.items() if kinds is None or entry.kind in kinds])

    def revoke_one(self, fingerprint: str) -> int:
        """Revoke the token with this fingerprint; return how many there were."""
        return self._end([value for value in self._entries if fingerprint_of(value) == fingerprint])

    def newest(self, now: float, limit: int) -> list[Living]:
        """Return the tokens that are valid at ``now``, newest first, at most ``limit``."""
        found: list[Living] = []
        for value, entry in reversed(self._entries.items()):
            if len(found) == limit:
                break
            if now < entry.dies_at and not entry.spent:
                found.append(Living(fingerprint_of(value), entry.kind, entry.issued_at, entry.dies_at))
        return found

    def living(self, now: float) -> dict[str, int]:
        """Return how many tokens of each kind are valid."""
        counts: dict[str, int] = {}
        for entry in list(self._entries.values()):
            if now < entry.dies_at and not entry.spent:
                counts[entry.kind] = counts.get(entry.kind, 0) + 1
        return counts

    def _revoke_family(self, family: str | None) -> None:
        # Spent refresh tokens are kept, so that a third use of one is counted, too.
        self._end([value for value, entry in self._entries.items() if entry.family == family and not entry.spent])

    def _end(self, doomed: list[str]) -> int:
        for value in doomed:
            del self._entries[value]
        self._revoked.extend(doomed)
        return len(doomed)

    def _sweep(self, now: float) -> None:
        self._entries = {value: entry for value, entry in self._entries.items() if now < entry.dies_at}
        # Doubling keeps the cost of cleaning up constant per token, however many are valid.
        self._sweep_at = max(_FIRST_SWEEP, 2 * len(self._entries))
