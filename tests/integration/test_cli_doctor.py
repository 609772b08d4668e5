"""``asyncauth doctor``: finds what is wrong, says what to do, and does no harm."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import threading
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from cli_kit import Ended, Shell, credentials
from redis_kit import free_port, needs_redis, redis_server

from asyncauth import Peakly, TokenManager
from asyncauth.cli.doctor.finding import Mark
from asyncauth.cli.doctor.store import look_into
from asyncauth.cli.stores import Chosen
from asyncauth.sandbox import Sandbox, sandbox_in_thread
from asyncauth.stores import FileStore


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sandbox_in_thread() as running:
        yield running


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Shell:
    return Shell(monkeypatch, capfdbinary)


@pytest.fixture
def able(shell: Shell, sandbox: Sandbox) -> Shell:
    shell.set(**credentials(sandbox))
    return shell


def lines(ended: Ended, subject: str) -> list[str]:
    """Return the lines about something, mark first."""
    return [line for line in ended.out.splitlines() if line[6:].startswith(subject)]


def marks(ended: Ended) -> dict[str, str]:
    """Return the mark of each subject, of several the last."""
    return {finding["subject"]: finding["mark"] for finding in json.loads(ended.out)["findings"]}


# What must be found


@pytest.mark.parametrize("no_login", [False, True])
def test_a_clock_that_is_an_hour_off(able: Shell, sandbox: Sandbox, *, no_login: bool) -> None:
    """A server whose clock is an hour ahead: by how much, and what to do. A warning where the login works."""
    sandbox.configure(clock_skew=3600.0)
    more = ("--no-login",) if no_login else ()
    ended = able.run("doctor", "peakly", "--base-url", sandbox.peakly.url, *more)
    assert (ended.code, ended.err) == (int(no_login), "")
    (line,) = lines(ended, "peakly clock")
    assert line.startswith("FAIL" if no_login else "warn")
    assert "peakly's clock is 1.0 h ahead of this machine's clock" in line
    assert "timedatectl set-ntp true" in line
    assert lines(ended, "peakly login")[0].startswith("skip" if no_login else "ok")
    assert ended.out.splitlines()[-1] == f"1 {'failure' if no_login else 'warning'}: see above."


@pytest.mark.parametrize(
    ("system", "variables"),
    [
        ("peakly", {"PEAKLY_PASSWORD": "wr0ng-wr0ng"}),
        ("pago-facil", {"PAGO_FACIL_PASSWORD": "wr0ng-wr0ng"}),
        ("pago-facil", {"PAGO_FACIL_ACCESS_TOKEN": "wr0ng-wr0ng"}),
    ],
)
def test_a_wrong_password_is_tried_once(able: Shell, sandbox: Sandbox, system: str, variables: dict[str, str]) -> None:
    """A refused credential: a failure that names the variable, after one request that carried it."""
    able.set(**variables)
    server = sandbox.systems[system.replace("-", "_")]
    ended = able.spawn("doctor", system, "--base-url", server.url)
    (line,) = lines(ended, f"{system} login")
    assert ended.code == 1
    assert line.startswith("FAIL")
    assert next(iter(variables)) in line
    assert server.counts.token_requests == 1
    assert ended.has_none_of("wr0ng-wr0ng", sandbox.password)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_world_readable_token_file(able: Shell, sandbox: Sandbox, tmp_path: Path) -> None:
    """A token file that every user can read is a failure, with a command that fixes it. The command works."""
    folder = tmp_path / "tokens"
    peakly = Peakly(username=sandbox.username, password=sandbox.password, base_url=sandbox.peakly.url)
    token = asyncio.run(TokenManager(peakly, store=FileStore(folder)).token())
    (file,) = folder.glob("*.json")
    file.chmod(0o644)
    ended = able.spawn("doctor", "--offline", "--store", str(folder))
    (line,) = lines(ended, "store permissions")
    assert ended.code == 1
    assert line.startswith(f"FAIL  store permissions       every user of this machine can read tokens in {file}; ")
    assert f"chmod 600 {file}; then have the tokens in them revoked" in line
    assert ended.has_none_of(token.value)
    file.chmod(0o600)
    assert able.run("doctor", "--offline", "--store", str(folder)).code == 0


def test_a_redis_that_is_not_there(able: Shell) -> None:
    """A Redis where nothing listens: a failure that says where, and what to look at."""
    port = free_port()
    ended = able.spawn("doctor", "--no-login", "--store", f"redis://127.0.0.1:{port}/0", "peakly", "--offline")
    assert lines(ended, "store")[0].startswith("skip")
    able.set(**dict.fromkeys(credentials(Sandbox()), ""))
    ended = able.spawn("doctor", "--store", f"redis://127.0.0.1:{port}/0")
    (line,) = lines(ended, "store ")
    assert ended.code == 1
    assert line.startswith("FAIL")
    assert f"redis://127.0.0.1:{port}/0: no connection could be made (Connection refused); is it running" in line


# What is well


@pytest.mark.parametrize("system", ["peakly", "pago-facil"])
def test_all_is_well(able: Shell, sandbox: Sandbox, system: str, tmp_path: Path) -> None:
    """Nothing wrong: exit code 0, each line begins with its mark, one token request, and no trace in the store."""
    folder = tmp_path / "tokens"
    folder.mkdir(mode=0o700)
    server = sandbox.systems[system.replace("-", "_")]
    ended = able.spawn("doctor", system, "--base-url", server.url, "--store", str(folder))
    told = ended.out.splitlines()
    assert (ended.code, ended.err, told[-1]) == (0, "", "All is well.")
    assert {line[:6] for line in told[:-1]} <= {"ok    ", "skip  "}
    subjects_in_order = [line[6:].split("  ")[0] for line in told[:-1]]
    assert subjects_in_order.index("store permissions") < subjects_in_order.index("python")  # packages come last
    subjects = ("credentials", "TCP", "HTTP", "clock", "login")
    assert all(lines(ended, f"{system} {subject}")[0].startswith("ok") for subject in subjects)
    assert all(lines(ended, f"store {part}")[0].startswith("ok") for part in ("writing", "lock", "permissions"))
    assert server.counts.token_requests == 1
    assert "createToken" not in getattr(server.counts, "by_step", {})
    assert list(folder.iterdir()) == []
    assert ended.has_none_of(sandbox.password)


def test_json(able: Shell, sandbox: Sandbox) -> None:
    """--json prints each finding with the same words, and nothing else to stdout."""
    ended = able.run("doctor", "peakly", "--base-url", sandbox.peakly.url, "--json")
    report = json.loads(ended.out)
    assert (ended.code, report["ok"]) == (0, True)
    assert all(set(finding) == {"mark", "subject", "says", "do"} for finding in report["findings"])
    sandbox.configure(clock_skew=-30.0)
    ended = able.run("doctor", "peakly", "--base-url", sandbox.peakly.url, "--json")
    assert (ended.code, marks(ended)["peakly clock"]) == (0, "warn")  # a warning does not fail the command


@pytest.mark.parametrize("option", ["--no-login", "--offline"])
def test_nothing_more_is_sent_than_may_be(able: Shell, sandbox: Sandbox, option: str) -> None:
    """--no-login sends no credentials, --offline nothing at all."""
    ended = able.run("doctor", "peakly", "--base-url", sandbox.peakly.url, option, "--json")
    assert ended.code == 0
    assert sandbox.peakly.counts.token_requests == 0
    assert len(sandbox.log) == (0 if option == "--offline" else 1)
    assert marks(ended).get("peakly clock") == (None if option == "--offline" else "ok")


def test_systems_without_a_name(shell: Shell) -> None:
    """Without a system those with credentials are looked at; with nothing set at all that is said, with 2."""
    nobody = shell.run("doctor", "--offline")
    assert (nobody.code, nobody.out, nobody.err.count("\n")) == (2, "", 1)
    assert "no credentials are set, and no store is named. Set PEAKLY_USERNAME and PEAKLY_PASSWORD" in nobody.err
    shell.set(PEAKLY_USERNAME="me", PEAKLY_PASSWORD="s3cret")
    some = shell.run("doctor", "--offline")
    assert (len(lines(some, "peakly")), len(lines(some, "pago-facil"))) == (2, 0)


def test_a_place_without_a_system(shell: Shell) -> None:
    """--environment and --base-url are refused without the system they belong to."""
    ended = shell.run("doctor", "--base-url", "http://127.0.0.1")
    assert (ended.code, ended.out) == (2, "")
    assert "need a system" in ended.err


# What else is found on the way to a token


def test_a_password_that_cannot_be_right_is_not_sent(able: Shell, sandbox: Sandbox) -> None:
    """A password with a line break at its end is reported, without a login."""
    able.set(PEAKLY_PASSWORD=f"{sandbox.password}\n")
    ended = able.run("doctor", "peakly", "--base-url", sandbox.peakly.url)
    assert ended.code == 1
    assert "PEAKLY_PASSWORD ends with a line break" in lines(ended, "peakly credentials")[0]
    assert lines(ended, "peakly login")[0].startswith("skip")
    assert sandbox.peakly.counts.token_requests == 0
    assert ended.has_none_of(sandbox.password)


def test_a_jwt_is_not_tried(able: Shell, sandbox: Sandbox) -> None:
    """A JWT is looked at and not sent: createToken would make a token that lives for years."""
    able.set(PAGO_FACIL_JWT="a.b.c")
    ended = able.run("doctor", "pago-facil", "--base-url", sandbox.pago_facil.url)
    assert lines(ended, "pago-facil login")[0].startswith("skip  pago-facil login        not tried with a JWT")
    assert sandbox.pago_facil.counts.token_requests == 0


def test_a_port_where_nothing_listens(able: Shell) -> None:
    """A refused connection ends the way there; no login is tried."""
    ended = able.run("doctor", "peakly", "--base-url", f"http://127.0.0.1:{free_port()}")
    assert ended.code == 1
    assert "Connection refused" in lines(ended, "peakly TCP")[0]
    assert "the server can't be reached" in lines(ended, "peakly login")[0]


def test_a_host_without_an_address(able: Shell) -> None:
    """An unknown host name is reported as such, before any connection."""
    ended = able.run("doctor", "peakly", "--base-url", "https://no-such-host.invalid", "--timeout", "20")
    assert ended.code == 1
    assert lines(ended, "peakly DNS")[0].startswith("FAIL  peakly DNS              no-such-host.invalid has no address")
    assert lines(ended, "peakly TCP") == []


def test_a_server_without_a_date(able: Shell, sandbox: Sandbox) -> None:
    """Without a Date in the answer the clocks are not compared, and that is said."""
    sandbox.configure(date_header=False)
    assert "no Date" in lines(able.run("doctor", "peakly", "--base-url", sandbox.peakly.url), "peakly clock")[0]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("server_error", "the server can't answer now"),
        ("hang", "no answer within 0.5 s"),
        ("malformed", "the answer is not a JSON object"),
    ],
)
def test_a_token_endpoint_in_trouble(able: Shell, sandbox: Sandbox, fault: str, said: str) -> None:
    """A problem of the token endpoint itself is reported after one try, which is not repeated."""
    getattr(sandbox.peakly.token_faults, fault)()
    ended = able.run("doctor", "peakly", "--base-url", sandbox.peakly.url, "--timeout", "0.5")
    assert ended.code == 1
    assert said in lines(ended, "peakly login")[0]
    assert sandbox.peakly.counts.token_requests <= 1


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(shell: Shell, authority: trustme.CA, tmp_path: Path) -> Shell:
    """A shell in which the authority is trusted."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    shell.set(SSL_CERT_FILE=str(tmp_path / "ca.pem"))
    return shell


@contextlib.contextmanager
def https(authority: trustme.CA, name: str = "localhost", **certificate: Any) -> Iterator[str]:
    """Serve HTTPS on loopback from a thread; give the base URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **certificate).configure_cert(context)
    loop, ready = asyncio.new_event_loop(), threading.Event()
    urls: list[str] = []

    async def serve() -> None:
        async def answer(request: web.Request) -> web.Response:
            return web.Response()

        application = web.Application()
        application.router.add_route("*", "/{tail:.*}", answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
            urls.append(f"https://localhost:{runner.addresses[0][1]}")
            ready.set()
            await ended.wait()
        finally:
            await runner.cleanup()

    ended = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait(10)
    try:
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def _looked(shell: Shell, url: str) -> Ended:
    shell.set(PEAKLY_USERNAME="me", PEAKLY_PASSWORD="s3cret")
    return shell.run("doctor", "peakly", "--base-url", url, "--no-login")


def test_a_certificate_of_an_unknown_authority(shell: Shell, authority: trustme.CA) -> None:
    """A certificate that nobody here trusts is a failure, and says how trust is made; nothing is sent after it."""
    with https(authority) as url:
        ended = _looked(shell, url)
    assert ended.code == 1
    (line,) = lines(ended, "peakly TLS")
    assert line.startswith("FAIL  peakly TLS              the certificate of localhost is signed by an authority that")
    assert "SSL_CERT_FILE" in line
    assert lines(ended, "peakly HTTP") == []


@pytest.mark.parametrize(
    ("left", "name", "found"),
    [
        (timedelta(days=100, hours=1), "localhost", "ok  : the certificate is trusted, and expires in 100.0 d"),
        (timedelta(days=3, hours=1), "localhost", "warn: the certificate expires in 3.0 d"),
        (timedelta(seconds=-60), "localhost", "FAIL: the certificate of localhost has expired"),
        (timedelta(days=100), "example.com", "FAIL: the certificate of localhost is for another host"),
    ],
)
def test_trusted_certificates(trusting: Shell, authority: trustme.CA, left: timedelta, name: str, found: str) -> None:
    """For a certificate of a trusted authority, the report says when it expires and whether it is for this host."""
    with https(authority, name, not_after=datetime.now(UTC) + left) as url:
        (line,) = lines(_looked(trusting, url), "peakly TLS")
    mark, _, said = found.partition(": ")
    assert line.startswith(mark)
    assert said in line


def test_a_port_that_speaks_no_tls(shell: Shell, sandbox: Sandbox) -> None:
    """https to a port for http is reported as a handshake that fails."""
    ended = _looked(shell, sandbox.peakly.url.replace("http://127.0.0.1", "https://localhost"))
    assert "does not speak TLS" in lines(ended, "peakly TLS")[0]


# Stores


@needs_redis
def test_a_redis_that_is_well(shell: Shell) -> None:
    """Version, clock, writing and lock of a Redis are looked at, and nothing is left in it."""
    with redis_server(password="s3cret-password") as redis:
        shell.set(ASYNCAUTH_STORE=redis.url)
        ended = shell.run("doctor", "--json")
        assert (ended.code, redis.everything()) == (0, b"")
    found = marks(ended)
    assert all(found[f"store {part}".strip()] == "ok" for part in ("", "rights", "version", "clock", "writing", "lock"))
    assert ended.has_none_of("s3cret-password")


@needs_redis
@pytest.mark.parametrize(
    ("lacks", "code", "says"),
    [
        ("-@scripting", 0, "enough; scripts are forbidden, so locks are released in transactions"),
        (
            "-@scripting -@transaction",
            1,
            "the Redis user may not use EVAL, EVALSHA, SCRIPT LOAD (or WATCH, MULTI, EXEC); ",
        ),
        ("-getrange -pexpire", 1, "the Redis user may not use GETRANGE, PEXPIRE; allow it with ACL SETUSER"),
        ("-scan -info -time", 0, "the Redis user may use what a store needs"),
    ],
)
def test_a_redis_user_with_few_rights(shell: Shell, lacks: str, code: int, says: str) -> None:
    """Each command that a store needs is tried, and those that are missing are named."""
    with redis_server(password="") as redis, redis.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "few", "on", ">s3cret-password", "~asyncauth:*", "+@all", *lacks.split()
        )
        shell.set(ASYNCAUTH_STORE=redis.url.replace("redis://", "redis://few:s3cret-password@"))
        ended = shell.run("doctor")
        assert redis.everything() == b""
    assert ended.code == code
    assert says in lines(ended, "store rights")[0]
    assert any("may not list its entries (SCAN)" in line for line in lines(ended, "store")) == ("-scan" in lacks)
    assert ended.has_none_of("s3cret-password")


@needs_redis
def test_a_redis_without_scripting(shell: Shell) -> None:
    """Commands that the server lacks, as managed services do, are those that may not be used."""
    hidden = [word for name in ("EVAL", "EVALSHA", "SCRIPT") for word in ("--rename-command", name, "")]
    with redis_server(*hidden, password="") as redis:
        ended = shell.run("doctor", "--store", redis.url)
    assert ended.code == 0
    assert "scripts are forbidden" in lines(ended, "store rights")[0]


@needs_redis
def test_a_redis_that_takes_no_writes(shell: Shell) -> None:
    """A replica is read, and the failure to write says that it is one."""
    with redis_server(password="") as redis, redis.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))
        client.config_set("replica-serve-stale-data", "yes")
        ended = shell.run("doctor", "--store", redis.url)
    assert ended.code == 1
    assert any("which accepts no writes; use the primary's address" in line for line in lines(ended, "store"))


def test_tokens_that_travel_in_the_clear(shell: Shell) -> None:
    """Plain redis:// to another machine is a warning."""
    shell.set(ASYNCAUTH_STORE="redis://redis.invalid/0")
    ended = shell.run("doctor")
    assert "tokens travel to redis.invalid:6379 unencrypted; use rediss://" in lines(ended, "store transport")[0]


def test_a_folder_to_come(shell: Shell, tmp_path: Path) -> None:
    """A folder that is not there is no failure if it can be made, and is not made."""
    ended = shell.run("doctor", "--store", str(tmp_path / "a" / "b"))
    assert (ended.code, list(tmp_path.iterdir())) == (0, [])
    assert "does not exist yet, and can be created" in lines(ended, "store")[0]


class _NoLock(FileStore):
    """Keeps nobody out, as a network file system may."""

    @contextlib.asynccontextmanager
    async def lock(self, key: str) -> AsyncGenerator[None, None]:
        yield


@pytest.mark.parametrize(("kind", "mark"), [(_NoLock, Mark.FAIL), (FileStore, Mark.OK)])
async def test_a_lock_that_keeps_nobody_out(tmp_path: Path, kind: type[FileStore], mark: Mark) -> None:
    """Where two can hold the lock at once, that is a failure."""
    one, two = (Chosen(store, store, "store", folder=tmp_path) for store in (kind(tmp_path), kind(tmp_path)))
    found = {finding.subject: finding.mark for finding in await look_into(one, two, 5.0, offline=False)}
    assert found["store lock"] is mark


def test_unreadable_entries_are_warnings(shell: Shell, tmp_path: Path) -> None:
    """A damaged entry is reported, but not as a failure: a manager replaces it."""
    folder = tmp_path / "tokens"
    folder.mkdir(mode=0o700)
    (folder / f"{'ab' * 32}.json").touch(mode=0o600)
    ended = shell.run("doctor", "--store", str(folder))
    assert ended.code == 0
    assert lines(ended, "store entry")[0].startswith("warn  store entry             abababababab: it is damaged")
    assert ended.out.endswith("1 warning: see above.\n")
