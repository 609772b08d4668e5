"""Stores: several processes share a token in one, or a process finds its token again after a restart."""

from asyncauth.entry import Entry, Rejection, remains, time_to_live
from asyncauth.stores.base import Lease, TokenStore
from asyncauth.stores.codec import dumps, loads
from asyncauth.stores.encrypted import EncryptedStore
from asyncauth.stores.file import FileStore
from asyncauth.stores.memory import MemoryStore
from asyncauth.stores.redis import RedisStore

__all__ = [
    "EncryptedStore",
    "Entry",
    "FileStore",
    "Lease",
    "MemoryStore",
    "RedisStore",
    "Rejection",
    "TokenStore",
    "dumps",
    "loads",
    "remains",
    "time_to_live",
]
