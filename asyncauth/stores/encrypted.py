"""A store around another one that keeps what is at rest unreadable."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, NoReturn, Self

import attrs

from asyncauth.errors import ConfigurationError
from asyncauth.stores.base import TokenStore, dumps, loads
from asyncauth.text import printable
from asyncauth.token import SEALED, Token

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["EncryptedStore"]

_log = logging.getLogger("asyncauth.stores")


class EncryptedStore:
    """Encrypts tokens before another store keeps them (Fernet: AES-128-CBC and HMAC-SHA256).

    Only the times of an entry, and whether there is a refresh token, can be read there. An entry that no key opens
    counts as absent.

    Args:
        store: The store that keeps them.
        keys: Fernet keys (``cryptography.fernet.Fernet.generate_key()``). The first encrypts, all decrypt. A new one
            is put last everywhere, then first everywhere, and then the old one goes, when its last entry has expired:
            no process meets an entry that it can't open.

    Raises:
        ConfigurationError: The extra is not installed, there is no key, or one is no Fernet key.
    """

    def __init__(self, store: TokenStore, keys: str | bytes | Iterable[str | bytes]) -> None:
        if not all(callable(getattr(store, call, None)) for call in ("load", "save", "delete", "lock")):
            keys = ()
            raise ConfigurationError(f"EncryptedStore takes a TokenStore, not {type(store).__name__}")
        held: object = keys
        if not isinstance(held, Iterable):
            raise ConfigurationError(f"EncryptedStore takes Fernet keys, not {type(held).__name__}")
        del held
        given = [keys] if isinstance(keys, (str, bytes)) else list(keys)
        keys = ()
        try:
            from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 (an extra)
        except ImportError:
            given.clear()
            raise ConfigurationError("EncryptedStore needs cryptography: pip install 'asyncauth[crypto]'") from None
        fernets: list[Fernet] = []
        usable = True
        while given and usable:
            try:
                fernets.append(Fernet(given.pop(0)))
            except (ValueError, TypeError):
                usable = False
        if not usable:  # raised out here: the chain would hold a frame of Fernet's, which shows the key
            given.clear()
            raise ConfigurationError(
                f"EncryptedStore: key {len(fernets) + 1} is no Fernet key; make one with Fernet.generate_key()"
            )
        if not fernets:
            raise ConfigurationError("EncryptedStore takes at least one key: Fernet.generate_key() makes one")
        self._store = store
        self._fernet = MultiFernet(fernets)
        self._warned: set[str] = set()

    @property
    def strict(self) -> bool:
        """Whether the store inside is."""
        return bool(getattr(self._store, "strict", False))

    async def load(self, key: str) -> Token | None:
        """Return the token under a key, if one of the keys opens it."""
        token = self._open(key, await self._store.load(key))
        if token is not None:
            self._warned.discard(key)
        return token

    async def keys(self) -> list[str]:
        """Return the inner store's keys; of one that can't list them, ``AttributeError``."""
        inner: Any = self._store  # what it is besides a store
        return [str(key) for key in await inner.keys()]

    async def save(self, key: str, token: Token) -> None:
        """Keep a token, sealed."""
        await self._store.save(key, self._seal(key, token))

    async def delete(self, key: str, token: Token) -> None:
        """Leave what remains of the entry, if it is this token's."""
        sealed = await self._store.load(key)
        opened = self._open(key, sealed)
        if sealed is not None and opened is not None and opened.value == token.value:
            await self._store.delete(key, sealed)

    def lock(self, key: str) -> AbstractAsyncContextManager[Any]:
        """Return the inner store's lock."""
        return self._store.lock(key)

    async def close(self) -> None:
        """Close the inner store, if it can be closed."""
        close = getattr(self._store, "close", None)
        if close is not None:
            await close()

    async def __aenter__(self) -> Self:
        if isinstance(self._store, AbstractAsyncContextManager):
            await self._store.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(self._store, AbstractAsyncContextManager):
            await self._store.__aexit__(exc_type, exc, traceback)

    def _seal(self, key: str, token: Token) -> Token:
        """Return a token for the inner store: its value is the whole of this one, and whose it is, encrypted."""
        return Token(
            self._fernet.encrypt(f"{key} {dumps(token)}".encode()).decode(),
            expires_at=token.expires_at,
            issued_at=token.issued_at,
            token_type=SEALED,
            # The inner store needs to know that there is one: such an entry is not deleted, and kept for longer.
            refresh_token=None if token.refresh_token is None else SEALED,
            extra={name: token.extra[name] for name in ("refresh_expires_in",) if name in token.extra},
        )

    def _open(self, key: str, sealed: Token | None) -> Token | None:
        if sealed is None:
            return None
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 (an extra)

        try:
            if sealed.token_type != SEALED:
                raise InvalidToken  # noqa: TRY301 (written in the clear: as good as absent)
            owner, _, text = self._fernet.decrypt(sealed.value).partition(b" ")
            if owner != key.encode():
                raise InvalidToken  # noqa: TRY301 (another key's, copied here by somebody who can write there)
            token = loads(text)
        except (InvalidToken, ValueError):
            if key not in self._warned:
                self._warned.add(key)
                _log.warning("entry %s… can't be decrypted with these keys; it counts as absent", key[:8])
            return None
        # What the inner store knows of its times counts: an entry may have been marked refused, or have aged.
        return attrs.evolve(token, expires_at=sealed.expires_at, issued_at=sealed.issued_at)

    def __repr__(self) -> str:
        return f"<EncryptedStore {printable(repr(self._store))}>"

    def __reduce__(self) -> NoReturn:
        msg = "an EncryptedStore is not pickled: make one in the process that uses it"
        raise TypeError(msg)
