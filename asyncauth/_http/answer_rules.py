"""What a user says of an API's answers: which of them refuse the token, and which requests may be sent again."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

import attrs
from aiohttp import ClientResponse

from asyncauth._http.aiohttp_compat import is_whole
from asyncauth.errors import ConfigurationError

if TYPE_CHECKING:
    from aiohttp import ClientRequest

__all__ = ["BUILT_IN", "AnswerRules", "Refused", "Repeat"]

Refused: TypeAlias = Callable[[ClientResponse], "bool | Awaitable[bool | None] | None"]
"""Says whether an answer refuses the token: ``True``, ``False``, or ``None``: the built-in rule for 401s decides."""

Repeat: TypeAlias = Literal["all", "safe", "none"]
"""Which requests may be sent again: all whose body is whole, those with a safe method among them, or none."""

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""RFC 9110 §9.2.1."""
_SWITCHING_PROTOCOLS: Final = 101
"""A WebSocket's. It has no body: waiting for one would never end."""


@attrs.frozen
class AnswerRules:
    """The rules of one `BearerAuth`. Immutable.

    Args:
        refused: Asked for each answer; ``None``: the built-in rule for 401s alone.
        repeat: Which requests may be sent again.

    Raises:
        ConfigurationError: One of them can't work.
    """

    refused: Refused | None = None
    repeat: Repeat = "all"

    def __attrs_post_init__(self) -> None:
        refused: object = self.refused
        if refused is not None and not callable(refused):
            kind = type(refused).__name__
            raise ConfigurationError(f"refused= takes a function of the response, or None, not {kind}")
        if self.repeat not in get_args(Repeat):
            raise ConfigurationError("repeat= takes 'all', 'safe' or 'none'")

    @classmethod
    def of(cls, refused: Refused | None, repeat: Repeat) -> AnswerRules:
        """Return the rules for two arguments of a user's; without any they are `BUILT_IN`."""
        return BUILT_IN if refused is None and repeat == "all" else cls(refused, repeat)

    def may_repeat(self, request: ClientRequest) -> bool:
        """Return whether a request may be sent again: its method allows it, and its body is known to be whole."""
        by_method = self.repeat == "all" or (self.repeat == "safe" and request.method in _SAFE)
        return by_method and is_whole(request)

    async def verdict(self, response: ClientResponse) -> bool | None:
        """Return whether an answer refuses the token; ``None``: the built-in rule decides.

        Raises:
            ConfigurationError: The user's function returned something else than ``True``, ``False`` or ``None``.
            BaseException: What the user's function raised.
        """
        if self.refused is None or response.status == _SWITCHING_PROTOCOLS:
            return None
        verdict: object = self.refused(response)
        if inspect.isawaitable(verdict):
            verdict = await verdict
        if verdict is None or isinstance(verdict, bool):
            return verdict
        raise ConfigurationError(f"refused= must return True, False or None, not {type(verdict).__name__}")


BUILT_IN: Final = AnswerRules()
"""Those of a `BearerAuth` that was given none."""
