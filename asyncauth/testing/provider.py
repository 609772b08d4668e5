"""A provider whose answers a test chooses, without a server."""

from __future__ import annotations

import inspect
import itertools
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import attrs

from asyncauth.clock import SYSTEM_CLOCK, Clock
from asyncauth.token import Token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    import aiohttp

__all__ = ["FakeProvider"]

Answer: TypeAlias = "Token | BaseException | Callable[[], Token | Awaitable[Token]]"


def _are_in_turn(answers: object) -> TypeGuard[list[Any]]:
    return isinstance(answers, list)


@attrs.define(eq=False, kw_only=True)
class FakeProvider:
    """A ``Provider`` that needs no server.

    ::

        provider = FakeProvider(lifetime=60)
        provider.answers = TokenEndpointUnavailable("down")     # for every call
        provider.answers = [TokenEndpointUnavailable("down")]   # the next answer; then tokens again

    Attributes:
        lifetime: The lifetime of its tokens in seconds (default 3600); ``None``: unknown.
        latency: Seconds of ``clock`` that an answer takes (default 0).
        clock: The manager's clock; ``None`` (default): the machine's.
        answers: The result of calls: a token, an exception to raise, or a function, plain or ``async``, that returns a
            token. A list has the results of the next calls, in turn; after the last, and by default, each call returns
            a new token. A single value is the result of every call.
        name: See ``Provider`` (default ``"fake"``).
        origins: See ``Provider`` (default ``("https://api.example.com",)``).
        identity: See ``Provider`` (default ``"fake"``).
        calls: How many times `fetch` was called.
        previous: The ``previous`` argument of each call.
        running: How many calls are in progress.
    """

    lifetime: float | None = 3600.0
    latency: float = 0.0
    clock: Clock | None = None
    answers: Any = attrs.field(factory=list[Any], repr=False)  # exceptions in it may contain secrets
    name: str = "fake"
    origins: Collection[str] = ("https://api.example.com",)
    identity: str | None = "fake"
    calls: int = attrs.field(default=0, init=False)
    running: int = attrs.field(default=0, init=False)
    previous: list[Token | None] = attrs.field(factory=list["Token | None"], init=False, repr=False)
    _numbers: itertools.count[int] = attrs.field(factory=lambda: itertools.count(1), init=False, repr=False)

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:  # noqa: ARG002
        """Return or raise the next answer."""
        self.calls += 1
        self.previous.append(previous)
        self.running += 1
        try:
            clock = self.clock or SYSTEM_CLOCK
            answer = self._next()
            if self.latency:
                await clock.sleep(self.latency)
            if isinstance(answer, BaseException):
                raise answer.with_traceback(None)  # or one that every call gets would keep the frames of all of them
            given: Any = answer() if callable(answer) else answer
            token: Token = await given if inspect.isawaitable(given) else given
            return token
        finally:
            self.running -= 1

    def _next(self) -> Any:
        if not _are_in_turn(self.answers):
            return self.answers
        return self.answers.pop(0) if self.answers else self.token

    def token(self) -> Token:
        """Return a new token: ``token-1``, ``token-2`` and so on."""
        now = (self.clock or SYSTEM_CLOCK).wall()
        return Token(
            f"token-{next(self._numbers)}",
            issued_at=now,
            expires_at=None if self.lifetime is None else now + self.lifetime,
        )
