"""The cached token with the instants that count for it, and the check of what a provider gave."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, cast

import attrs

from asyncauth._http.carrier import PLAIN
from asyncauth.errors import ConfigurationError, InvalidTokenResponse
from asyncauth.token import Token, is_visible_ascii, type_flaw, without_refresh_token

if TYPE_CHECKING:
    from asyncauth._core.trial import Trial
    from asyncauth._http.carrier import Carrier

__all__ = ["NOTHING", "CachedToken", "Fallback", "checked_lifetime"]


class Fallback(NamedTuple):
    """What may serve in place of a token that the API has not accepted yet. Most tokens have none.

    Attributes:
        predecessor: The token before it; without its refresh token, if the new token has another.
        trial: The trial in which the predecessor does serve; ``None``: it does not.
    """

    predecessor: CachedToken
    trial: Trial | None = None


@attrs.define(eq=False, repr=False, weakref_slot=False)
class CachedToken:
    """One obtained token. All moments are seconds on the manager's monotonic clock.

    A manager replaces the whole object when the token, or what is known of it, changes. So a reader in any thread sees
    parts that belong together, and a request knows what was known when it was sent. Only `fast_until` changes in
    place: it is a hint that may be read late.

    Attributes:
        token: The token (an empty one in `NOTHING`, which is never handed out).
        authorization: What requests carry of it, made once: see `Carrier.text`.
        since: When it became the current one; when it got a 401, if it did.
        fresh_until: From then on it is to be renewed.
        usable_until: From then on it is spent.
        fast_until: Until then `TokenManager.token` hands it out on the real clock alone. It equals `fresh_until`
            once somebody has used the token, so that unused ones are noticed at no cost to those in use.
        replacement: Whether it was requested after its predecessor got a 401.
        accepted: Whether the API answered it with anything but a 401.
        again: Whether the server has given it before, with more to live: it caches its tokens.
        fallback: What may serve in its place, for as long as it is not accepted. ``None``: there is nothing, or that
            got a 401.
    """

    token: Token
    authorization: str = ""
    since: float = -math.inf
    fresh_until: float = -math.inf
    usable_until: float = -math.inf
    fast_until: float = -math.inf
    replacement: bool = False
    accepted: bool = False
    again: bool = False
    fallback: Fallback | None = None

    @property
    def api_401(self) -> bool:
        """Whether the API answered it with a 401, so that it has no windows any more: it is spent."""
        return self.usable_until == -math.inf and self.token.value != ""

    @property
    def predecessor(self) -> CachedToken | None:
        """The token before it, which may serve in its place."""
        return None if self.fallback is None else self.fallback.predecessor

    @property
    def trial(self) -> Trial | None:
        """The trial in which the predecessor does serve in its place; ``None``: it does not."""
        return None if self.fallback is None else self.fallback.trial

    def is_token(self, token: Token) -> bool:
        """Return whether this is the cached token, and it has not had a 401 yet."""
        return not self.api_401 and self.token.value == token.value != ""

    @property
    def last(self) -> Token | None:
        """The last token that was obtained, usable or not; ``None``: there has been none."""
        return self.token if self.token.value else None

    def serving(self, now: float) -> CachedToken:
        """Return the token that callers get: this one, or its predecessor, which is usable, in its place."""
        fallback = self.fallback
        if fallback is None or now >= fallback.predecessor.usable_until:
            return self
        return self if fallback.trial is None and now < self.usable_until else fallback.predecessor

    def usable_predecessor(self, now: float) -> CachedToken | None:
        """Return its predecessor if that can serve in its place."""
        predecessor = self.predecessor
        return None if predecessor is None or now >= predecessor.usable_until else predecessor

    def as_predecessor(self, successor: Token) -> CachedToken:
        """Return it as the predecessor of a new token; without its refresh token, if the new one has another."""
        token = self.token
        if token.refresh_token != successor.refresh_token:
            token = without_refresh_token(token)
        return self.without_predecessor(token, accepted=self.accepted)

    def without_predecessor(self, token: Token, *, accepted: bool) -> CachedToken:
        """Return it without the token before it. Each renewal needs that: `attrs.evolve` takes four times as long."""
        return CachedToken(
            token,
            self.authorization,
            self.since,
            self.fresh_until,
            self.usable_until,
            self.fast_until,
            self.replacement,
            accepted,
            self.again,
        )

    def after_api_401(self, now: float, predecessor: CachedToken | None = None) -> CachedToken:
        """Return it as spent. What else came with it, such as a refresh token, still counts.

        Args:
            now: The present.
            predecessor: What serves until there is another token; ``None``: nothing does.
        """
        return CachedToken(self.token, since=now, fallback=None if predecessor is None else Fallback(predecessor))

    def on_trial(self, trial: Trial) -> CachedToken:
        """Return it in a trial, in which its predecessor serves in its place."""
        predecessor = cast("CachedToken", self.predecessor)  # no trial begins without one
        return attrs.evolve(self, fast_until=-math.inf, fallback=Fallback(predecessor, trial))


NOTHING = CachedToken(Token(""))
"""What a manager holds before its first token."""


_FIELD = "look at the field of the answer that the provider reads"


def checked_lifetime(token: object, carrier: Carrier) -> float | None:
    """Return the seconds that what a provider returned lives, if it is a token that can be sent.

    Raises:
        ConfigurationError: It is not a `Token`.
        InvalidTokenResponse: It is one that can't be used.
    """
    if not isinstance(token, Token):
        kind = type(token).__name__
        raise ConfigurationError(f"fetch() must return a Token, not {kind}", advice="return Token(value, expires_at=…)")
    flaw = type_flaw(token)
    if flaw is not None:
        raise ConfigurationError(f"fetch() returned a Token whose {flaw}", advice="look at how fetch() makes it")
    if not token.value or not is_visible_ascii(token.value):
        raise InvalidTokenResponse(
            "the access token is empty, or holds characters that can't travel in a header", advice=_FIELD
        )
    if not (token.token_type.isascii() and token.token_type.replace("-", "").isalnum()):
        raise InvalidTokenResponse("the token type can't travel in a header", advice=_FIELD)
    lifetime = token.lifetime
    if lifetime == math.inf:
        lifetime = None
    if lifetime is not None and not lifetime > 0:  # NaN too
        problem = InvalidTokenResponse(
            "the token was expired on arrival",
            advice="is expires_at the Unix time of its end, and not its lifetime?",
        )
        problem.expired = True
        raise problem
    flaw = None if carrier is PLAIN else carrier.flaw(token)
    if flaw is not None:
        raise InvalidTokenResponse(flaw, advice=_FIELD)
    return lifetime
