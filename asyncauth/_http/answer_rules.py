"""A user's rules for an API's answers: which ones mean a 401, and which requests may be sent again."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

from aiohttp import ClientResponse

from asyncauth.errors import ConfigurationError

__all__ = ["BUILT_IN", "AnswerRules", "Refused", "Repeat", "Says"]

Says: TypeAlias = "bool | Awaitable[bool | None] | None"
"""Whether the API did not accept the token: ``True``, ``False``, or ``None``: the built-in rule for 401s decides."""

Refused: TypeAlias = Callable[[ClientResponse], Says]
"""Returns whether an aiohttp response means that the API did not accept the token."""

Repeat: TypeAlias = Literal["all", "safe", "none"]
"""Which requests may be sent again: all whose body is whole, of these only those with a safe method, or none."""

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""RFC 9110 §9.2.1."""
_SWITCHING_PROTOCOLS: Final = 101
"""The status of a WebSocket's handshake. It has no body, so reading one would wait for ever."""


class AnswerRules(NamedTuple):
    """The rules of one `BearerAuth`, or of one transport of another HTTP client. Immutable.

    Args:
        refused: Called with each answer, a response of the HTTP client; ``None`` (default): only the rule for 401s.
        repeat: Which requests may be sent again (default ``"all"``).
    """

    refused: Callable[[Any], Says] | None = None
    repeat: Repeat = "all"

    @classmethod
    def of(cls, refused: Callable[[Any], Says] | None, repeat: Repeat) -> AnswerRules:
        """Return the rules for a user's two arguments: `BUILT_IN` for the defaults.

        Raises:
            ConfigurationError: An argument is wrong.
        """
        if refused is not None and not callable(refused):
            kind = type(refused).__name__
            raise ConfigurationError(f"refused= takes a function of the response, or None, not {kind}")
        if repeat not in get_args(Repeat):
            raise ConfigurationError("repeat= takes 'all', 'safe' or 'none'")
        return BUILT_IN if refused is None and repeat == "all" else cls(refused, repeat)

    def allows(self, method: str) -> bool:
        """Return whether a request with this method may be sent again, if its body is whole."""
        return self.repeat == "all" or (self.repeat == "safe" and method in _SAFE)

    async def verdict(self, response: Any, status: int) -> bool | None:
        """Return whether an answer means that the API did not accept the token; ``None``: the built-in rule decides.

        Args:
            response: The answer.
            status: Its status.

        Raises:
            ConfigurationError: The user's function returned something other than ``True``, ``False`` or ``None``.
            BaseException: The user's function raised it.
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
"""The rules of a `BearerAuth` without arguments."""
