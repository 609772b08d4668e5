"""Whether a store can be read and written, in good time, and whether its lock keeps others out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from typing import TYPE_CHECKING, Any

from asyncauth.cli.doctor.clocks import clocks
from asyncauth.cli.doctor.files import permissions
from asyncauth.cli.doctor.finding import Finding, Mark, fail, ok, skip, warn
from asyncauth.cli.doctor.rights import missing_commands, rights
from asyncauth.cli.entries import entries_of
from asyncauth.cli.stores import StoreFailure
from asyncauth.provider import key_of
from asyncauth.stores import RedisStore
from asyncauth.token import Token

if TYPE_CHECKING:
    from pathlib import Path

    from asyncauth.cli.stores import Chosen

__all__ = ["look_into"]

_SLOW = 0.25
"""Seconds for one call: a manager gives a store 1 s, and does without it then."""
_PROBE_LIFE = 60.0
"""Seconds after which a probe that was left behind is gone: it is deleted at once."""
_GLANCE = 0.3
"""Seconds for which a second holder tries to get a lock that is held."""
_OLDEST_REDIS = (6, 2)


async def look_into(chosen: Chosen, again: Chosen, timeout: float, *, offline: bool) -> list[Finding]:  # noqa: ASYNC109
    """Return what there is to say of a store. A probe is written to it, under a key of its own, and deleted.

    Args:
        chosen: The store.
        again: The same, as another process would have it.
        timeout: Seconds for one answer.
        offline: Whether nothing may be sent.
    """
    if chosen.folder is None and offline:
        return [skip("store", f"{chosen.title}: not contacted (--offline)")]
    if chosen.folder is not None and not chosen.folder.is_dir():
        return [_future(chosen.folder)]
    found: list[Finding] = []
    try:
        missing: list[str] = []
        if isinstance(chosen.inner, RedisStore):
            missing = await missing_commands(chosen, chosen.inner, timeout)
            found.append(rights(missing))
        able = not found or found[0].mark is not Mark.FAIL
        if "SCAN" in missing:
            found.append(skip("store", f"{chosen.title}: the Redis user may not list its entries (SCAN)"))
        else:
            found += await _entries(chosen, timeout)
        if isinstance(chosen.inner, RedisStore):
            found += await _redis(chosen, chosen.inner, timeout)
        if able:
            found += await _probe(chosen, again, timeout)
    except StoreFailure as failure:
        found.append(fail("store", failure.says, failure.do))
    if chosen.folder is not None:
        with contextlib.suppress(PermissionError):  # said above
            found += permissions(chosen.folder, sealed=chosen.sealed)
    if chosen.address is not None:
        says = f"tokens travel to {chosen.address} unencrypted"
        found.append(warn("store transport", says, "use rediss://, or an EncryptedStore"))
    return found


_MEND = "a manager treats it as absent and replaces it; was it encrypted with a key that is missing here?"


def _future(folder: Path) -> Finding:
    parent = next(each for each in folder.absolute().parents if each.exists())
    if os.access(parent, os.W_OK | os.X_OK):
        return ok("store", f"{folder} does not exist yet, and can be created")
    return fail(
        "store", f"{folder} does not exist, and can't be created in {parent}", "create it with mode 0700 for this user"
    )


async def _entries(chosen: Chosen, timeout: float) -> list[Finding]:  # noqa: ASYNC109
    """Return how long a look takes, and which entries can't be read."""
    started = time.monotonic()
    entries = await entries_of(chosen, {}, timeout)
    took = (time.monotonic() - started) / (1 + len(entries))
    flawed = [warn("store entry", f"{entry.key[:12]}: {entry.flaw}", _MEND) for entry in entries if entry.flaw]
    return [_speed(chosen.title, len(entries), took), *flawed]


def _speed(title: str, count: int, seconds: float) -> Finding:
    says = f"{title}: {count} {'entry' if count == 1 else 'entries'}, {seconds * 1000:.1f} ms per read"
    if seconds > _SLOW:
        return warn("store", says, "callers wait for it, up to 1 s: is it far away, or overloaded?")
    return ok("store", says)


async def _redis(chosen: Chosen, store: RedisStore, timeout: float) -> list[Finding]:  # noqa: ASYNC109
    """Return whether the server is new enough, and whether its clock agrees."""

    async def ask() -> tuple[str, Any, float, float]:
        async with store.client() as client:
            info = await client.info("server")
            sent_at, started = time.time(), time.monotonic()
            now = await client.time()
        return str(info.get("redis_version", "")), now, sent_at, time.monotonic() - started

    try:
        version, now, sent_at, took = await chosen.answer(ask(), timeout)
    except StoreFailure:
        return [skip("store version", "the Redis user may not use INFO and TIME")]
    ahead = now[0] + now[1] / 1e6 - (sent_at + took / 2)
    found = [clocks("store clock", "the Redis server", ahead, took / 2)]
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < _OLDEST_REDIS:
        return [fail("store version", f"Redis {version} is too old", "use 6.2 or newer"), *found]
    return [ok("store version", f"Redis {version}"), *found]


async def _probe(chosen: Chosen, again: Chosen, timeout: float) -> list[Finding]:  # noqa: ASYNC109
    """Write, read and delete an entry of our own, under its lock, and try to get that lock a second time."""
    key, now = key_of(f"asyncauth doctor {secrets.token_hex(16)}"), time.time()
    probe = Token(f"probe-{secrets.token_hex(8)}", issued_at=now, expires_at=now + _PROBE_LIFE)
    exclusive = False
    async with chosen.opened(), again.opened():
        lock = chosen.store.lock(key)
        try:
            await chosen.answer(lock.__aenter__(), timeout)
            try:
                exclusive = not await _taken(again, key)
                started = time.monotonic()
                await chosen.answer(chosen.store.save(key, probe), timeout)
                stored = await chosen.answer(again.store.load(key), timeout)
                took = time.monotonic() - started
            finally:
                with contextlib.suppress(StoreFailure):
                    await chosen.answer(chosen.store.delete(key, probe), timeout)
                await chosen.answer(lock.__aexit__(None, None, None), timeout)
        finally:
            _sweep(chosen.folder, key)
    if stored is None or stored.value != probe.value:
        return [fail("store writing", "a written entry can't be read back", "is it full, or does it evict entries?")]
    found = [ok("store writing", f"written, read and deleted ({took * 1000:.1f} ms)")]
    if exclusive:
        return [*found, ok("store lock", "a second holder has to wait")]
    why = "two processes can hold it at once, and would make two token requests"
    return [*found, fail("store lock", why, "is this a network file system? Use Redis there")]


async def _taken(again: Chosen, key: str) -> bool:
    """Return whether a lock that is held can be had a second time."""
    try:
        async with asyncio.timeout(_GLANCE), again.store.lock(key):
            return True
    except TimeoutError:
        return False


def _sweep(folder: Path | None, key: str) -> None:
    """Delete the probe's own lock files, which a store leaves for the next use of a key."""
    if folder is not None:
        for suffix in (".json", ".lock", ".change"):
            with contextlib.suppress(OSError):
                (folder / f"{key}{suffix}").unlink()
