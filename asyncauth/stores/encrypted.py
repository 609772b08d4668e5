"""A store that wraps another one and encrypts its entries."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, NoReturn, Self

import attrs

from asyncauth._base.printable import printable
from asyncauth.entry import UNKNOWN_LIFETIME, Entry
from asyncauth.errors import ConfigurationError
from asyncauth.stores.codec import Reader, dumps, loads
from asyncauth.token import SEALED, Token

if TYPE_CHECKING:
    from types import TracebackType

    from asyncauth.stores.base import TokenStore

__all__ = ["EncryptedStore"]


class EncryptedStore:
    """Encrypts tokens before another store keeps them (Fernet: AES-128-CBC and HMAC-SHA256).

    Only an entry's times, and whether it has a refresh token or a mark, are readable there. The encrypted part contains
    all of them, too, and is bound to the entry's key. A change outside can therefore make an entry expire earlier,
    never later. An entry that no key decrypts counts as absent. If an attacker restores an old entry, it is used no
    longer than it would have been.

    To replace a key: add the new one at the end on all machines, then move it to the front on all machines. When the
    last entry with the old key has expired, remove that key. No process then ever meets an entry that it cannot
    decrypt.

    Args:
        store: The store that keeps the encrypted entries.
        keys: Fernet keys (``cryptography.fernet.Fernet.generate_key()``). The first encrypts, all decrypt.

    Raises:
        ConfigurationError: The extra is not installed, there is no key, or one is not a Fernet key.
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
            raise ConfigurationError(
                "EncryptedStore needs cryptography", advice="pip install 'asyncauth[crypto]'"
            ) from None
        fernets: list[Fernet] = []
        usable = True
        while given and usable:
            try:
                fernets.append(Fernet(given.pop(0)))
            except (ValueError, TypeError):
                usable = False
        if not usable:  # raised here: otherwise the chain would include a frame of Fernet's, which shows the key
            given.clear()
            raise ConfigurationError(
                f"EncryptedStore: key {len(fernets) + 1} is not a Fernet key",
                advice="make one with Fernet.generate_key()",
            )
        if not fernets:
            raise ConfigurationError("EncryptedStore takes at least one key: Fernet.generate_key() makes one")
        self._store = store
        self._fernet = MultiFernet(fernets)
        self._reader = Reader("EncryptedStore")

    @property
    def strict(self) -> bool:
        """Whether the inner store is strict."""
        return bool(getattr(self._store, "strict", False))

    async def load(self, key: str) -> Token | None:
        """Return the token under a key, if one of the Fernet keys decrypts it."""
        return self._open(key, await self._store.load(key))

    async def keys(self) -> list[str]:
        """Return the inner store's keys; ``AttributeError`` if it can't list them."""
        inner: Any = self._store  # its members beyond a store's
        return [str(key) for key in await inner.keys()]

    async def save(self, key: str, token: Token) -> None:
        """Encrypt a token and keep it."""
        await self._store.save(key, self._seal(key, token))

    async def delete(self, key: str, token: Token) -> None:
        """Replace the entry with what remains of it, if it is this token's."""
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
        """Return an entry for the inner store, whose value is this entry with its key, encrypted."""
        entry = Entry.of(token)
        return Entry(
            self._fernet.encrypt(f"{key} {dumps(entry)}".encode()).decode(),
            token_type=SEALED,
            # The inner store needs to know how long the entry is of use, and what remains of it after an API 401.
            expires_at=entry.expires_at,
            issued_at=entry.issued_at,
            refresh_token=None if entry.refresh_token is None else SEALED,
            extra={name: entry.extra[name] for name in ("refresh_expires_in",) if name in entry.extra},
            rotations=min(entry.rotations, 1),
            in_use_since=entry.in_use_since,
            rejections=tuple(attrs.evolve(each, digest=SEALED, times=1) for each in entry.rejections),
        )

    def _open(self, key: str, sealed: Token | None) -> Entry | None:
        if sealed is None:
            return None
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 (an extra)

        try:
            if sealed.token_type != SEALED:
                raise InvalidToken  # noqa: TRY301 (unencrypted, which counts as absent)
            owner, _, text = self._fernet.decrypt(sealed.value).partition(b" ")
            if owner != key.encode():
                raise InvalidToken  # noqa: TRY301 (another key's entry: an attacker copied it here)
            entry = loads(text)
        except (InvalidToken, ValueError):
            self._reader.tell(key, "it can't be decrypted with these keys")
            return None
        self._reader.forget(key)
        return _shortened(entry, sealed, time.time())

    @property
    def place(self) -> str | None:
        """The inner store's place, for the log; ``None``: it has none."""
        place: object = getattr(self._store, "place", None)
        return place if isinstance(place, str) else None

    def __repr__(self) -> str:
        return f"<EncryptedStore {printable(repr(self._store))}>"

    def __reduce__(self) -> NoReturn:
        msg = "an EncryptedStore cannot be pickled: make one in the process that uses it"
        raise TypeError(msg)


def _shortened(entry: Entry, outside: Token, now: float) -> Entry:
    """Return an entry with the inner store's times, where they shorten its life.

    The entry may have got an API 401, or have aged by the store's own clock. But an attacker who can write to the store
    may have changed the times there. So the encrypted expiry and lifetime remain the upper limit.

    Args:
        entry: The decrypted entry.
        outside: The entry as the inner store has it.
        now: The wall clock, in Unix epoch seconds.
    """
    sealed_end = entry.issued_at + UNKNOWN_LIFETIME if entry.expires_at is None else entry.expires_at
    if entry.expires_at is None and outside.expires_at is None:
        return entry if now < sealed_end else attrs.evolve(entry, expires_at=entry.issued_at)
    # The order of the arguments matters: NaN, which an attacker may write, compares as not less, and loses.
    end = sealed_end if outside.expires_at is None else min(sealed_end, outside.expires_at)
    earlier = min(sealed_end - end, max(0.0, entry.issued_at - outside.issued_at))
    return attrs.evolve(entry.moved(-earlier), expires_at=end)
