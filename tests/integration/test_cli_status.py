"""``asyncauth status``: what a store holds, without secrets, and without a change to it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_kit import Shell
from cryptography.fernet import Fernet
from redis_kit import RedisServer, needs_redis, redis_server

from asyncauth import Peakly, Token, TokenManager
from asyncauth.sandbox import sandbox_in_thread
from asyncauth.stores import EncryptedStore, Entry, FileStore, RedisStore, Rejection, TokenStore, remains

ONE, TWO, THREE = "1a" * 32, "2b" * 32, "3c" * 32
SECRETS = ("s3cret-access", "s3cret-refresh")


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Shell:
    return Shell(monkeypatch, capfdbinary)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server(password="s3cret-password") as server:
        yield server


def a_token(expires_in: float | None = 7230.0, **more: Any) -> Token:
    now = time.time()
    return Token("s3cret-access", issued_at=now, expires_at=None if expires_in is None else now + expires_in, **more)


def fill(store: TokenStore, **tokens: Token) -> None:
    async def save() -> None:
        for key, token in tokens.items():
            await store.save(key.strip("_") * 32, token)

    asyncio.run(save())


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_what_a_folder_holds(shell: Shell, tmp_path: Path) -> None:
    """Each entry has a line: its state, how long it lives, whether it has a refresh token; and nothing changes."""
    refused = remains(a_token(refresh_token="s3cret-refresh"))
    assert refused is not None
    fill(FileStore(tmp_path), _1a=a_token(), _2b=refused, _3c=a_token(None), _4d=a_token(0.001))
    before = contents(tmp_path)
    time.sleep(0.01)
    ended = shell.spawn("status", str(tmp_path))
    assert (ended.code, ended.err) == (0, "")
    lines = [re.split(r"  +", line) for line in ended.out.splitlines()]
    assert lines[0] == [f"{tmp_path}: 4 entries"]
    assert lines[1] == ["key", "state", "left", "ends at", "refresh token", "kept for", "fingerprint", "mode"]
    assert [line[:3] for line in lines[2:]] == [
        [ONE[:12], "usable", "2.0 h"],
        [TWO[:12], "refused", "yes"],
        [THREE[:12], "usable", "unknown"],
        [("4d" * 32)[:12], "expired", lines[5][2]],
    ]
    assert [line[-1] for line in lines[2:]] == ["0600"] * 4
    assert ended.has_none_of(*SECRETS)
    assert contents(tmp_path) == before


def test_a_rejection_without_a_token(shell: Shell, tmp_path: Path) -> None:
    """An entry that only remembers a rejected credential looks different from one with a token."""
    rejection = Rejection(digest="ab12", until=time.time() + 60, times=1)
    fill(FileStore(tmp_path), _1a=Entry.without_token(rejections=(rejection,), now=time.time()))
    ended = shell.run("status", str(tmp_path))
    assert re.search(rf"{ONE[:12]}  rejected +no +1\.0 h", ended.out)
    assert ended.code == 0


def test_json(shell: Shell, tmp_path: Path) -> None:
    """--json has each entry's facts under names, the whole key among them, and no secret."""
    fill(FileStore(tmp_path), _1a=a_token(refresh_token="s3cret-refresh", scope="read"))
    ended = shell.run("status", str(tmp_path), "--json")
    facts = json.loads(ended.out)
    (entry,) = facts["entries"]
    assert facts["store"] == str(tmp_path)
    assert 7100 < entry.pop("seconds_left") <= 7230
    assert entry.pop("seconds_kept") > 29 * 86400
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry.pop(name)) for name in ("issued_at", "expires_at")
    )
    assert entry == {
        "key": ONE,
        "whose": None,
        "state": "usable",
        "problem": None,
        "fingerprint": Token("s3cret-access").fingerprint,
        "refresh_token": True,
        "scope": "read",
        "sealed": False,
        "mode": "0600",
    }
    assert ended.has_none_of(*SECRETS)


def test_a_lock_that_is_held_holds_nothing_up(shell: Shell, tmp_path: Path) -> None:
    """`status` takes no lock: it answers while another process holds them all."""
    import filelock

    fill(FileStore(tmp_path), _1a=a_token())
    with filelock.FileLock(tmp_path / f"{ONE}.lock"), filelock.FileLock(tmp_path / f"{ONE}.change"):
        assert shell.run("status", str(tmp_path), "--timeout", "2").code == 0


def test_a_damaged_entry_is_told_and_ends_nothing(shell: Shell, tmp_path: Path) -> None:
    """An entry that can't be read has its line, the others theirs; the exit code is 1, and the file stays."""
    fill(FileStore(tmp_path), _2b=a_token())
    damaged = tmp_path / f"{ONE}.json"
    damaged.write_bytes(b'{"v": 1, "value": "s3cret-access", ')
    ended = shell.run("status", str(tmp_path))
    assert ended.code == 1
    assert f"{ONE[:12]}  unreadable" in ended.out
    assert f"{TWO[:12]}  usable" in ended.out
    assert f"{ONE[:12]}: it is damaged, or of another version" in ended.out
    assert damaged.read_bytes().startswith(b'{"v": 1')
    assert ended.has_none_of(*SECRETS)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_file_that_others_can_read_is_marked(shell: Shell, tmp_path: Path) -> None:
    """The output says in words that other users may read a file."""
    fill(FileStore(tmp_path), _1a=a_token())
    (tmp_path / f"{ONE}.json").chmod(0o644)
    assert "0644 (others can read it)" in shell.run("status", str(tmp_path)).out


def test_the_entry_of_a_manager_is_found(shell: Shell, tmp_path: Path) -> None:
    """--as, with the options that `token` takes, finds the entry that a manager wrote, without its password."""
    with sandbox_in_thread() as sandbox:
        peakly = Peakly(username=sandbox.username, password=sandbox.password, base_url=sandbox.peakly.url)
        asyncio.run(TokenManager(peakly, store=FileStore(tmp_path)).token())
        fill(FileStore(tmp_path), _1a=a_token())
        place = ("status", str(tmp_path), "--as", "peakly", "--base-url", sandbox.peakly.url, "--json")
        asked = sandbox.peakly.counts.token_requests
        found = shell.run(*place, "--account", sandbox.username)
        assert [entry["whose"] for entry in json.loads(found.out)["entries"]] == ["peakly token"]
        shell.set(PEAKLY_USERNAME=sandbox.username)
        assert shell.run(*place).code == 0
        nobody = shell.run(*place, "--account", "nobody")
        assert (nobody.code, json.loads(nobody.out)["entries"]) == (1, [])
        assert sandbox.peakly.counts.token_requests == asked == 1


def test_a_sealed_folder(shell: Shell, tmp_path: Path) -> None:
    """Without the keys a sealed entry's times are shown; with them whether one of them opens it."""
    key, another = Fernet.generate_key(), Fernet.generate_key()
    fill(EncryptedStore(FileStore(tmp_path), key), _1a=a_token(scope="read"))
    fill(FileStore(tmp_path), _2b=a_token())
    closed = json.loads(shell.run("status", str(tmp_path), "--json").out)["entries"]
    assert [(entry["state"], entry["sealed"], entry["scope"]) for entry in closed] == [
        ("usable", True, None),
        ("usable", False, None),
    ]
    shell.set(ASYNCAUTH_STORE_KEYS=f"{another.decode()}, {key.decode()}")
    opened = shell.run("status", str(tmp_path), "--json")
    one, two = json.loads(opened.out)["entries"]
    assert (one["state"], one["scope"], two["state"], two["problem"]) == (
        *("usable", "read"),
        *("unreadable", "it is not sealed"),
    )
    shell.set(ASYNCAUTH_STORE_KEYS=another.decode())
    ended = shell.run("status", str(tmp_path))
    assert (ended.code, f"{ONE[:12]}: none of these keys opens it" in ended.out) == (1, True)
    assert ended.has_none_of(*SECRETS, key.decode(), another.decode())


@needs_redis
def test_what_a_redis_holds(shell: Shell, redis: RedisServer) -> None:
    """A Redis is named by the environment where its URL has a password; only commands that read are sent."""
    fill(RedisStore(redis.url, prefix="shop:"), _1a=a_token())
    shell.set(ASYNCAUTH_STORE=redis.url)
    with redis.client() as client:
        client.config_resetstat()
    ended = shell.run("status", "--prefix", "shop:", "--json")
    assert ended.code == 0
    facts = json.loads(ended.out)
    assert facts["store"] == f"redis://127.0.0.1:{redis.port}/0"
    assert [entry["key"] for entry in facts["entries"]] == [ONE]
    assert ended.has_none_of(*SECRETS, "s3cret-password")
    with redis.client() as client:
        sent = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
    assert {"scan", "getrange", "pttl"} <= sent
    assert sent <= {
        *("scan", "getrange", "pttl", "auth", "hello", "select"),
        *("client", "client|setinfo", "config", "config|resetstat", "info"),
    }


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "which store? Name a folder or a redis:// URL, or set ASYNCAUTH_STORE"),
        (("/no/such/folder",), 1, "there is no folder /no/such/folder"),
        ((__file__,), 2, "FileStore takes a folder"),
        (("http://127.0.0.1/",), 2, "begins with redis://, rediss:// or unix://"),
        (("redis://[::1/",), 2, "begins with redis://, rediss:// or unix://"),
        (("redis://:s3cret@127.0.0.1/",), 2, "must have no password"),
        (("redis://127.0.0.1/?password=s3cret",), 2, "must have no password"),
        (("redis://127.0.0.1:1/0",), 1, "redis://127.0.0.1:1/0: no connection could be made (Connection refused)"),
        (("unix:///no/such/socket",), 1, "no connection could be made (No such file or directory)"),
        ((".", "--account", "me"), 2, "need --as"),
        ((".", "--as", "peakly"), 2, "whose entries? Give --account, or set PEAKLY_USERNAME"),
        ((".", "--as", "peakly", "-e", "development", "--account", "me"), 2, "no environment 'development'"),
        ((".", "--encrypted"), 2, "set ASYNCAUTH_STORE_KEYS"),
    ],
)
def test_what_cannot_be_read(shell: Shell, arguments: tuple[str, ...], code: int, said: str) -> None:
    """A store that can't be read, or that nothing names, is one line that says what to do."""
    ended = shell.run("status", *arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (code, "", 1)
    assert said in ended.err
    assert ended.has_none_of("s3cret")


@needs_redis
def test_a_redis_that_refuses_or_hangs(shell: Shell, redis: RedisServer) -> None:
    """A wrong password and a server that hangs have words of their own."""
    shell.set(ASYNCAUTH_STORE=f"redis://:wr0ng@127.0.0.1:{redis.port}/0")
    ended = shell.run("status")
    assert (ended.code, "it rejects the password, or requires one" in ended.err) == (1, True)
    assert ended.has_none_of("wr0ng")
    redis.pause()
    try:
        ended = shell.run("status", "--timeout", "0.3")
    finally:
        redis.resume()
    assert (ended.code, "no answer in time" in ended.err) == (1, True)


def test_keys_that_are_none(shell: Shell, tmp_path: Path) -> None:
    """A key that is not a Fernet key is reported, but not shown."""
    shell.set(ASYNCAUTH_STORE_KEYS="no-fernet-key")
    ended = shell.run("status", str(tmp_path))
    assert (ended.code, "key 1 is not a Fernet key" in ended.err) == (2, True)
    assert ended.has_none_of("no-fernet-key")


async def test_a_stores_control_characters_do_not_reach_the_terminal(shell: Shell, tmp_path: Path) -> None:
    """A scope that somebody wrote there is escaped in JSON: none of it commands the terminal."""
    scope = "a\x9b31m\x7f\u202eb"
    await FileStore(tmp_path).save(ONE, a_token(scope=scope))
    ended = await asyncio.to_thread(shell.run, "status", str(tmp_path), "--json")
    assert json.loads(ended.out)["entries"][0]["scope"] == scope
    assert all(each == "\n" or each.isprintable() for each in ended.out)
