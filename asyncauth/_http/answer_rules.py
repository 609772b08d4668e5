"""What a user says of an API's answers: which of them refuse the token, and which requests may be sent again."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

from aiohttp import ClientResponse

from asyncauth.errors import ConfigurationError

__all__ = ["BUILT_IN", "AnswerRules", "Refused", "Repeat", "Says"]

Says: TypeAlias = "bool | Awaitable[bool | None] | None"
"""Whether an answer refuses the token: ``True``, ``False``, or ``None``: the built-in rule for 401s decides."""

Refused: TypeAlias = Callable[[ClientResponse], Says]
"""Says whether an answer of aiohttp's refuses the token."""

Repeat: TypeAlias = Literal["all", "safe", "none"]
"""Which requests may be sent again: all whose body is whole, those with a safe method among them, or none."""

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""RFC 9110 §9.2.1."""
_SWITCHING_PROTOCOLS: Final = 101
"""A WebSocket's. It has no body: waiting for one would never end."""


class AnswerRules(NamedTuple):
    """The rules of one `BearerAuth`, or of one transport of another HTTP client. Immutable.

    Args:
        refused: Asked for each answer, a response of the HTTP client's; ``None``: the built-in rule for 401s alone.
        repeat: Which requests may be sent again.
    """

    refused: Callable[[Any], Says] | None = None
    repeat: Repeat = "all"

    @classmethod
    def of(cls, refused: Callable[[Any], Says] | None, repeat: Repeat) -> AnswerRules:
        """Return the rules for two arguments of a user's; without any they are `BUILT_IN`.

        Raises:
            ConfigurationError: One of them can't work.
        """
        if refused is not None and not callable(refused):
            kind = type(refused).__name__
            raise ConfigurationError(f"refused= takes a function of the response, or None, not {kind}")
        if repeat not in get_args(Repeat):
            raise ConfigurationError("repeat= takes 'all', 'safe' or 'none'")
        return BUILT_IN if refused is None and repeat == "all" else cls(refused, repeat)

    def allows(self, method: str) -> bool:
        """Return whether a request with this method may be sent again, if its body is known to be whole."""
        return self.repeat == "all" or (self.repeat == "safe" and method in _SAFE)

    async def verdict(self, response: Any, status: int) -> bool | None:
        """Return whether an answer refuses the token; ``None``: the built-in rule decides.

        Args:
            response: The answer.
            status: Its status.

        Raises:
            ConfigurationError: The user's function returned something else than ``True``, ``False`` or ``None``.
            BaseException: What the user's function raised.
        """
        if self.refused is None or status == _SWITCHING_PROTOCOLS:
            return None
        verdict: object = self.refused(response)
        if inspect.isawaitable(verdict):
            verdict = await verdict
        if verdict is None or isinstance(verdict, bool):
            return verdict
        raise ConfigurationError(f"refused= must return True, False or None, not {type(verdict).__name__}")


BUILT_IN: Final = AnswerRules()
"""Those of a `BearerAuth` that was given none."""
