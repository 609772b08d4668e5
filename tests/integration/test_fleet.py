"""A fleet of processes that share a store makes one token request per lifetime, whatever fails."""

from __future__ import annotations

import contextlib
import math
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contract_kit import PAGO_FACIL, PEAKLY, Side, serving
from cryptography.fernet import Fernet
from fleet_kit import fleet, wait_until
from inside_kit import entries_of, ledger_of
from redis_kit import RedisServer, needs_redis, redis_server

from asyncauth.policy import EARLIEST_SHARE

pytestmark = [pytest.mark.fleet]  # processes start slowly on a busy machine

SYSTEMS = pytest.mark.parametrize("system", ["peakly", "peakly with refresh tokens", "pago-facil"])
BOTH = pytest.mark.parametrize("system", ["peakly with refresh tokens", "pago-facil"])


@contextlib.contextmanager
def a_system(system: str, **options: Any) -> Iterator[Side]:
    """Serve one; at the end no refresh token must have been sent twice."""
    name = PAGO_FACIL if system == PAGO_FACIL else PEAKLY
    with serving(name, refresh_tokens="refresh" in system, **options) as side:
        yield side
        assert side.sandbox.peakly.counts.refresh_reuse == 0


LIFETIME = 4.0


def most_tokens(seconds: float) -> int:
    """Return how many tokens of `LIFETIME` are asked for in a time at most: none is renewed in its first half."""
    return 1 + math.floor(seconds / (EARLIEST_SHARE * LIFETIME))


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@needs_redis
@SYSTEMS
def test_cold_six_processes_make_one_token_request(redis: RedisServer, system: str) -> None:
    """50 callers in each of 6 processes, all at once, nothing known: one request a step."""
    with a_system(system, token_latency=0.3) as side, fleet(side, 6, redis=redis.url, callers=50) as processes:
        processes.go()
        outcome = processes.end()
        assert outcome.statuses == {"200": 300}
        assert side.asked == side.rounds(1)
    assert outcome.total("refreshes") == 1
    assert outcome.total("adoptions") == 5


@needs_redis
def test_five_processes_for_three_lifetimes(redis: RedisServer) -> None:
    """14 s at a lifetime of 4 s under load: the token requests of one process, no request fails, none is refused."""
    with contextlib.ExitStack() as stack:
        sides = [
            stack.enter_context(a_system(system, lifetime=LIFETIME)) for system in ("peakly", "with refresh tokens")
        ]
        fleets = [
            stack.enter_context(fleet(side, 5, redis=redis.url, callers=4, pause=0.1, seconds=14.0)) for side in sides
        ]
        for processes in fleets:
            processes.go()
        for side, processes in zip(sides, fleets, strict=True):
            outcome = processes.end()
            assert set(outcome.statuses) == {"200"}
            assert side.server.counts.api_refused == 0
            assert 14.0 / LIFETIME <= side.server.counts.token_requests <= most_tokens(outcome.seconds)
            assert {report["store"] for report in outcome.reports} == {"ok"}


@needs_redis
@SYSTEMS
def test_a_revocation_costs_one_more(redis: RedisServer, system: str) -> None:
    """All tokens revoked at once under load in 5 processes: one further request a step, no request fails."""
    with a_system(system) as side, fleet(side, 5, redis=redis.url, callers=8, seconds=2.5) as processes:
        processes.go()
        wait_until(lambda: side.server.counts.api_ok > 100)
        side.server.revoke(None if system == PAGO_FACIL else "access_token")
        outcome = processes.end()
        assert set(outcome.statuses) == {"200"}
        assert side.server.counts.api_refused >= 5
        assert (
            side.asked
            == {
                "peakly": {"password": 2},
                "peakly with refresh tokens": {"password": 1, "refresh_token": 1},
                # A chain learns from the refusals of both later steps that its upstream's token is gone, too.
                "pago-facil": {"login": 2, "createToken": 3, "loginToken": 3},
            }[system]
        )


@needs_redis
@pytest.mark.parametrize("system", ["peakly with refresh tokens"])
def test_the_holder_of_the_lock_dies(redis: RedisServer, system: str) -> None:
    """``kill -9`` in the middle of its request: one further request serves the others, within the lease."""
    with a_system(system) as side, fleet(side, 5, redis=redis.url, callers=3, seconds=1.0) as processes:
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(fleet(side, 1, redis=redis.url, callers=1, seconds=0.5))
            if "refresh" in system:  # so that the one who dies is in the middle of using a refresh token up
                first.go()
                first.end()
                side.server.revoke("access_token")
                side.server.reset_counts()
                first = stack.enter_context(fleet(side, 1, redis=redis.url, callers=1, seconds=0.5))
            side.server.configure(token_latency=50.0)  # no answer before its death
            first.go()
            wait_until(lambda: side.server.counts.token_requests == 1)
            processes.go()
            time.sleep(0.5)
            first.processes[0].kill()
        side.server.configure(token_latency=0.0)
        outcome = processes.end()
        assert set(outcome.statuses) == {"200"}
        assert side.server.counts.token_requests == 2
    assert outcome.total("refreshes") == 1


@needs_redis
@pytest.mark.parametrize("system", ["peakly with refresh tokens"])
def test_redis_is_killed_for_six_seconds(redis: RedisServer, system: str) -> None:
    """Under load, with renewals due meanwhile: no request fails, and it is shared again afterwards."""
    with (
        a_system(system, lifetime=LIFETIME) as side,
        fleet(side, 4, redis=redis.url, callers=4, seconds=14.0) as processes,
    ):
        processes.go()
        wait_until(lambda: side.server.counts.api_ok > 100)
        time.sleep(2.0)
        killed = time.monotonic()
        redis.kill()
        time.sleep(6.0)
        redis.start()
        away = time.monotonic() - killed
        outcome = processes.end()
        assert set(outcome.statuses) == {"200"}
        # Together all the time, and the other three for themselves while it was away, and until they renew again.
        assert side.server.counts.token_requests <= most_tokens(outcome.seconds) + 3 * most_tokens(away + LIFETIME)
    assert "token store fails" in outcome.log
    assert {report["store"] for report in outcome.reports} == {"ok"}
    assert outcome.total("adoptions") > 0


@needs_redis
@BOTH
def test_redis_was_never_there(system: str) -> None:
    """No request fails; every process has a token of its own, and says that it has no store."""
    with redis_server(started=False) as nowhere, a_system(system) as side:
        with fleet(side, 4, redis=nowhere.url, callers=10, seconds=1.0) as processes:
            processes.go()
            outcome = processes.end()
        assert set(outcome.statuses) == {"200"}
        assert side.asked == side.rounds(4)
    assert {report["store"] for report in outcome.reports} == {"load: ConnectionError"}
    # One line a minute: of each manager, and a chain has three.
    assert outcome.log.count("token store fails") == 4 * (3 if system == PAGO_FACIL else 1)


@BOTH
def test_one_machine_shares_files(tmp_path: Path, system: str) -> None:
    """6 processes: one request a step, files of mode 0600, and the next process makes none."""
    folder = tmp_path / "tokens"
    with a_system(system, token_latency=0.3) as side:
        with fleet(side, 6, folder=str(folder), callers=50) as processes:
            processes.go()
            assert processes.end().statuses == {"200": 300}
        assert side.asked == side.rounds(1)
        found = list(folder.iterdir())
        assert len([path for path in found if path.suffix == ".json"]) == len(side.rounds(1))
        assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        with fleet(side, 1, folder=str(folder), callers=10) as later:
            later.go()
            outcome = later.end()
        assert outcome.statuses == {"200": 10}
        assert (outcome.total("refreshes"), outcome.total("adoptions")) == (0, 1)
        assert side.asked == side.rounds(1)


def test_a_damaged_file_is_survived(tmp_path: Path) -> None:
    """The processes make one request together, and the file is whole again."""
    with a_system("peakly with refresh tokens", token_latency=0.3) as side:
        for damage in (b'{"v":1,"val', b"\x00" * 500):
            for path in tmp_path.glob("*.json"):
                path.write_bytes(damage)
            side.server.reset_counts()
            with fleet(side, 3, folder=str(tmp_path), callers=10) as processes:
                processes.go()
                outcome = processes.end()
            assert outcome.statuses == {"200": 30}
            assert side.asked == side.rounds(1)
        assert "is treated as absent" in outcome.log


def test_the_holder_of_a_file_lock_dies(tmp_path: Path) -> None:
    """The operating system gives its lock back at once."""
    with a_system("peakly with refresh tokens", token_latency=50.0) as side:
        with (
            fleet(side, 1, folder=str(tmp_path), callers=1) as first,
            fleet(side, 3, folder=str(tmp_path), callers=3) as others,
        ):
            first.go()
            wait_until(lambda: side.server.counts.token_requests == 1)
            others.go()
            time.sleep(0.3)
            side.server.configure(token_latency=0.0)
            first.processes[0].kill()
            outcome = others.end()
        assert outcome.statuses == {"200": 9}
        assert side.server.counts.token_requests == 2


@needs_redis
@pytest.mark.parametrize("kind", ["redis", "file"])
def test_nothing_can_be_read_at_rest(redis: RedisServer, tmp_path: Path, kind: str) -> None:
    """Under EncryptedStore: no token, no user, no password, no address; and the processes share all the same."""
    where = {"redis": redis.url} if kind == "redis" else {"folder": str(tmp_path)}
    key = Fernet.generate_key().decode()
    with a_system("peakly with refresh tokens") as side:
        with fleet(side, 3, **where, key=key, callers=5) as processes:
            processes.go()
            outcome = processes.end()
        assert outcome.total("refreshes") == 1
        settings = side.server.settings
        secrets = [
            settings.username,
            settings.password,
            "Administrador",
            "127.0.0.1",
            *entries_of(ledger_of(side.server)),
        ]
    assert len(secrets) == 4 + 2  # an access token and a refresh token
    raw = redis.everything() if kind == "redis" else b"\n".join(path.read_bytes() for path in tmp_path.iterdir())
    assert len(raw) > 100
    assert not [secret for secret in secrets if secret.encode() in raw]
