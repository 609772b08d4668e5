"""What a manager asks of a store that several processes share, and the form in which stores write tokens."""

from __future__ import annotations

import contextlib
import json
import math
import re
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast, runtime_checkable

import attrs
from cattrs.preconf.json import make_converter

from asyncauth.expiry import left_of
from asyncauth.token import Token

__all__ = ["Lease", "TokenStore", "dumps", "loads", "remains", "time_to_live"]

SCHEMA = 1
"""The version of the form that is written. An entry of any other counts as absent."""
UNKNOWN_LIFETIME = 86400.0
"""Seconds for which a token of unknown lifetime is kept."""
REFRESH_TOKEN_LIFETIME = 30 * 86400.0
"""Seconds for which an entry is kept for the sake of its refresh token, whose own lifetime servers seldom tell."""
LONGEST = 1e11
"""Seconds, three thousand years: no entry need be kept for longer."""
DEEPEST_EXTRA = 64
"""Levels of lists and objects, one in another, that are kept of a field: more can't be read back in every stack."""
LARGEST_ENTRY = 1 << 24
"""Characters of an entry that are read at most: a token answer of 1 MiB, however it is escaped, and sealed as well."""

_KEY = re.compile(r"[0-9a-f]{64}")


class Lease(Protocol):
    """A lock that is held, as `TokenStore.lock` gives it. A store whose lock can't be lost may give ``None``."""

    @property
    def lost(self) -> bool:
        """Whether another process may hold the lock by now."""
        ...


@runtime_checkable
class TokenStore(Protocol):
    """Keeps tokens where several processes find them.

    To write one, write these four methods::

        import asyncio
        from collections import defaultdict
        from asyncauth.stores import remains

        class DictStore:
            def __init__(self):
                self.tokens, self.locks = {}, defaultdict(asyncio.Lock)

            async def load(self, key):
                return self.tokens.get(key)

            async def save(self, key, token):
                self.tokens[key] = token

            async def delete(self, key, token):
                stored = self.tokens.get(key)
                if stored is not None and stored.value == token.value:
                    left = remains(stored)
                    if left is None:
                        del self.tokens[key]
                    else:
                        self.tokens[key] = left

            def lock(self, key):
                return self.locks[key]

    A store may have ``keys()``, an async method that returns the keys there are and changes nothing: the command line's
    ``status`` and ``doctor`` list them. It may have ``close()``, which its owner calls; may be an async context
    manager, which a manager then enters around what it does, from any number of tasks at once; and may have
    ``strict = True``: then callers get a ``StoreError`` where otherwise the manager does without the store. What any
    method raises is store trouble, never the caller's: unless the provider ``needs_lock``, see `Provider`, a token is
    had without the store. `asyncauth.testing.StoreConformance` is a test suite for a store.

    Methods are called from any event loop, each within a time limit (`RefreshPolicy.store_timeout`), by cancellation.
    """

    async def load(self, key: str) -> Token | None:
        """Return the token under a key (64 hex digits); ``None`` = there is none that can be read."""
        ...

    async def save(self, key: str, token: Token) -> None:
        """Keep a token in place of what was under the key, for `time_to_live` seconds at most.

        Also where those are 0 or less: what was under the key must be gone.
        """
        ...

    async def delete(self, key: str, token: Token) -> None:
        """Compare and delete: leave what `remains` of the entry, if its ``value`` is this token's; else nothing."""
        ...

    def lock(self, key: str) -> AbstractAsyncContextManager[Any]:
        """Return a context that one task of one process at a time is in, for a key.

        Entering waits, and may be cancelled. A process that dies in it must not keep the others out for ever: the lock
        is a lease of some 10 s that is extended while the holder lives, or ends with its process. Entering gives a
        `Lease` where the lock can be lost.
        """
        ...


def is_key(text: str) -> bool:
    """Return whether a text is a key: the 64 hex digits of a SHA-256."""
    return _KEY.fullmatch(text) is not None


def remains(token: Token) -> Token | None:
    """Return what a store keeps of an entry whose access token was refused.

    Nothing, or, where there is a refresh token, the entry with an access token that is spent: a refresh token must not
    be lost to a refusal of its access token.
    """
    return None if token.refresh_token is None else attrs.evolve(token, expires_at=token.issued_at)


def time_to_live(token: Token, now: float) -> float:
    """Return the seconds after which an entry is of no use to anybody; 0 or less = it is of none already.

    Args:
        token: The entry.
        now: The wall clock, in Unix epoch seconds.
    """
    left = left_of(token.expires_at, token.issued_at, now)
    if token.refresh_token is not None:
        expires_in = token.extra.get("refresh_expires_in")
        if isinstance(expires_in, bool) or not isinstance(expires_in, (int, float)) or not expires_in > 0:  # NaN
            expires_in = REFRESH_TOKEN_LIFETIME
        return max(float(min(expires_in, LONGEST)), left if math.isfinite(left) else 0.0)
    return UNKNOWN_LIFETIME if left == math.inf else left


@attrs.frozen(kw_only=True)
class _Entry:
    """A token as it is written: version 1."""

    v: int
    value: str
    expires_at: float | None
    issued_at: float
    token_type: str
    refresh_token: str | None
    scope: str | None
    extra: dict[str, Any]


_converter = make_converter(forbid_extra_keys=True)
# Exact types: cattrs' own would take the number 5 for the string "5".


def _exactly(value: object, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(kind.__name__)
    return value


def _number(value: object, _: type) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError("number")
    return float(value)


_converter.register_structure_hook(str, _exactly)
_converter.register_structure_hook(int, _exactly)
_converter.register_structure_hook(float, _number)


def dumps(token: Token) -> str:
    """Return a token in its written form: JSON, in the clear.

    Of `Token.extra` only what JSON can hold is written, and is not nested absurdly: a provider of somebody's own may
    put anything there, and so may a server.
    """
    entry = _Entry(
        v=SCHEMA,
        value=token.value,
        expires_at=token.expires_at,
        issued_at=token.issued_at,
        token_type=token.token_type,
        refresh_token=token.refresh_token,
        scope=token.scope,
        extra={name: value for name, value in token.extra.items() if _is_json(value)},
    )
    return json.dumps(_converter.unstructure(entry), separators=(",", ":"))


def _is_json(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return _is_flat(value, DEEPEST_EXTRA)


def _is_flat(value: object, levels: int) -> bool:
    """Return whether lists and objects are nested at most so many levels deep."""
    if not isinstance(value, (dict, list, tuple)):
        return True
    held = cast("dict[str, object] | list[object] | tuple[object, ...]", value)
    inner = held.values() if isinstance(held, dict) else held
    return levels > 0 and all(_is_flat(each, levels - 1) for each in inner)


def loads(text: str | bytes) -> Token:
    """Return the token that `dumps` wrote.

    Raises:
        ValueError: It is no entry of this version, or damaged. The text names no content.
    """
    entry = None
    with contextlib.suppress(Exception):  # cattrs' errors hold what they could not read
        if len(text) <= LARGEST_ENTRY:
            read = _converter.structure(json.loads(text), _Entry)
            (read.refresh_token or "").encode()  # a lone surrogate can't be sent
            entry = read
    if (
        entry is None
        or entry.v != SCHEMA
        or not entry.value
        or not all("\x21" <= char <= "\x7e" for char in entry.value)
        or not (entry.token_type.isascii() and entry.token_type.replace("-", "").isalnum())
    ):
        msg = "an entry that is damaged, or of another version"
        raise ValueError(msg)
    return Token(
        entry.value,
        expires_at=entry.expires_at,
        issued_at=entry.issued_at,
        token_type=entry.token_type,
        refresh_token=entry.refresh_token,
        scope=entry.scope,
        extra=entry.extra,
    )
