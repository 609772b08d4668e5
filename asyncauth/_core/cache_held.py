"""The token that a manager holds, with the moments that matter."""

from __future__ import annotations

import math

import attrs

from asyncauth.token import Token

__all__ = ["NOTHING", "Held"]

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
