"""Stores: where several processes share a token, or one process finds it again."""

from asyncauth.stores.base import Lease, TokenStore, dumps, loads, remains, time_to_live
from asyncauth.stores.encrypted import EncryptedStore
from asyncauth.stores.file import FileStore
from asyncauth.stores.memory import MemoryStore
from asyncauth.stores.redis import RedisStore

__all__ = [
    "EncryptedStore",
    "FileStore",
    "Lease",
    "MemoryStore",
    "RedisStore",
    "TokenStore",
    "dumps",
    "loads",
    "remains",
    "time_to_live",
]
