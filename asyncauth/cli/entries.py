"""What a store holds, as it may be shown: times and marks, no secrets. Only reads."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Any

import attrs

from asyncauth._base.redaction import Redactor
from asyncauth.cli.times import moment
from asyncauth.expiry import finite, left_of
from asyncauth.stores import time_to_live

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncauth.cli.stores import Chosen
    from asyncauth.token import Token

__all__ = ["Entry", "entries_of"]

_SEALED = "sealed"
"""What `EncryptedStore` calls the type of a token that it has sealed."""


@attrs.frozen
class Entry:
    """One entry of a store.

    Attributes:
        key: 64 hex digits.
        whose: A name for it, if the user said whose tokens to look for.
        token: What stands there; ``None`` = it can't be read.
        flaw: Why it can't be read.
        now: When it was looked at, in Unix epoch seconds.
        mode: The file's permissions; ``None``: it is not a file, or the system is Windows, where a mode says nothing.
    """

    key: str
    whose: str | None
    token: Token | None = attrs.field(repr=False)
    flaw: str | None
    now: float
    mode: int | None = None

    @property
    def left(self) -> float | None:
        """Seconds that the access token has left; ``None`` = unknown, or there is none."""
        if self.token is None:
            return None
        return finite(left_of(self.token.expires_at, self.token.issued_at, self.now))

    @property
    def refused(self) -> bool:
        """Whether it is marked refused: the access token was, and what else the entry holds is kept."""
        token = self.token
        return token is not None and token.expires_at is not None and token.expires_at <= token.issued_at

    @property
    def state(self) -> str:
        """``usable``, ``expired``, ``refused``, ``rejected`` or ``unreadable``."""
        if self.token is None:
            return "unreadable"
        if not self.token.value:
            return "rejected"
        if self.refused:
            return "refused"
        return "expired" if self.left is not None and self.left <= 0 else "usable"

    @property
    def fingerprint(self) -> str | None:
        """The access token's, as logs have it; ``None``: there is none, or it is sealed."""
        token = self.token
        return token.fingerprint if token is not None and token.value and token.token_type != _SEALED else None

    @property
    def kept(self) -> float | None:
        """Seconds after which the entry is of no use to anybody; ``None`` = unknown."""
        if self.token is None or (self.token.expires_at is None and self.token.refresh_token is None):
            return None
        return max(0.0, time_to_live(self.token, self.now))

    def as_dict(self) -> dict[str, Any]:
        """Return what `status --json` prints of it."""
        token = self.token
        facts: dict[str, Any] = {"key": self.key, "whose": self.whose, "state": self.state, "problem": self.flaw}
        facts["fingerprint"] = self.fingerprint
        facts |= {
            "issued_at": None if token is None else moment(token.issued_at),
            "expires_at": None if token is None else moment(token.expires_at),
            "seconds_left": None if self.left is None else round(max(0.0, self.left), 3),
            "seconds_kept": None if self.kept is None else round(self.kept, 3),
            "refresh_token": None if token is None else token.refresh_token is not None,
            "scope": None if token is None else _scope(token),
            "sealed": None if token is None else token.token_type == _SEALED,
        }
        return facts | ({} if self.mode is None else {"mode": f"{self.mode:04o}"})


def _scope(token: Token) -> str | None:
    """Return what the server granted, without the token if the server repeats it there."""
    secrets = (token.value, token.refresh_token or "")
    return None if token.scope is None else Redactor(secrets).text(token.scope)


async def entries_of(chosen: Chosen, names: Mapping[str, str], timeout: float) -> list[Entry]:  # noqa: ASYNC109
    """Return what a store holds, in the order of the keys.

    Args:
        chosen: The store.
        names: By key, whose an entry is.
        timeout: Seconds for one answer.

    Raises:
        StoreFailure: It can't be read.
    """
    found: list[Entry] = []
    async with chosen.opened():
        for key in await chosen.answer(chosen.store.keys(), timeout):
            token = await chosen.answer(chosen.store.load(key), timeout)
            flaw = None if token is not None else await _flaw(chosen, key, timeout)
            if token is not None or flaw is not None:
                found.append(Entry(key, names.get(key), token, flaw, time.time(), _mode(chosen, key)))
    return found


async def _flaw(chosen: Chosen, key: str, timeout: float) -> str | None:  # noqa: ASYNC109
    """Return why an entry can't be read; ``None`` = it has gone meanwhile."""
    inner = await chosen.answer(chosen.inner.load(key), timeout) if chosen.sealed else None
    if inner is not None:
        return "none of these keys opens it" if inner.token_type == _SEALED else "it is not sealed"
    if key in await chosen.answer(chosen.store.keys(), timeout):
        return "it is damaged, or of another version"
    return None


def _mode(chosen: Chosen, key: str) -> int | None:
    if chosen.folder is None or os.name == "nt":
        return None
    try:
        return stat.S_IMODE((chosen.folder / f"{key}.json").stat().st_mode)
    except OSError:  # gone meanwhile
        return None
