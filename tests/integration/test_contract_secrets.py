"""No secret in a repr, a log at DEBUG, an exception or a traceback that shows locals: whatever goes wrong."""

from __future__ import annotations

import asyncio
import gc
import logging
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from contract_kit import QUICK, SYSTEMS, Side, client, serving, status_of
from core_kit import engine_of
from harness.canary import MARK
from harness.crash_reports import crash_report, every_frame
from inside_kit import entries_of, ledger_of
from loopback import MOMENTS, ClosingConnector, Moment
from opentelemetry.instrumentation import aiohttp_client
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from asyncauth import (
    AuthError,
    BearerAuth,
    ClientCredentials,
    ConfigurationError,
    Peakly,
    RefreshPolicy,
    TokenManager,
    client_session,
    wrap_session,
)
from asyncauth.stores import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from asyncauth.sandbox import FaultPlan

SHORT = RefreshPolicy(backoff=0.02, backoff_limit=0.02, deadline=0.1)

FAULTS: dict[str, Callable[[FaultPlan], None]] = {
    "disconnect": lambda plan: plan.disconnect(processed=True),
    "reset": lambda plan: plan.reset(),
    "hang": lambda plan: plan.hang(processed=True),
    "slow drip": lambda plan: plan.slow_drip(30.0),
    "503": lambda plan: plan.server_error(),
    "429": lambda plan: plan.too_many_requests(120),
    "malformed": lambda plan: plan.malformed(),
    "no token": lambda plan: plan.missing_fields("access_token", "access_token_jwt"),
    "no number": lambda plan: plan.replace_fields({"expires_in": "abc", "expiration_date": "abc"}),
    "forged headers": lambda plan: plan.replace_fields(
        {"access_token": f"{MARK}\r\nb: c", "access_token_jwt": f"{MARK}\n"}
    ),
    "redirect": lambda plan: plan.redirect(f"http://127.0.0.1:1/token?{MARK}=1"),
    "wrong credentials": lambda plan: plan.wrong_credentials(),
}


class Watch:
    """Collects everything that people may come to see, and the secrets that must not be in it."""

    def __init__(self, side: Side) -> None:
        self.texts: list[str] = []
        self._side = side

    def show(self, *things: object) -> None:
        """Take the repr and str of things, and of an exception all that tools print of it."""
        for thing in things:
            self.texts += [repr(thing), str(thing)]
            if isinstance(thing, BaseException):
                self.texts += [repr(thing.args), repr(vars(thing))]
                self.texts += traceback.TracebackException.from_exception(thing, capture_locals=True).format()
                self.texts += [f"{place} {variables!r}" for place, variables in every_frame(thing)]
                self.texts.append(crash_report(thing))

    def secrets(self) -> set[str]:
        server = self._side.server
        return {MARK, server.settings.password, *entries_of(ledger_of(server))}

    def check(self, *, logged: str) -> None:
        text = "\n".join([*self.texts, logged])
        assert len(text) > 100
        for secret in self.secrets():
            assert text.find(secret) == -1, text[max(0, text.find(secret) - 300) :][:600]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.LogCaptureFixture]:
    """Record what every logger says at DEBUG, in asyncio's debug mode."""
    # The debug mode keeps the stack of each callback, and would look each time whether a file of it has changed.
    monkeypatch.setattr("linecache.checkcache", lambda filename=None: None)
    caplog.set_level(logging.DEBUG)
    before = {}
    for name in ("aiohttp.client", "aiohttp.internal", "aiohttp.websocket", "asyncio", "asyncauth"):
        before[name] = logging.getLogger(name).level
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield caplog
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def logged(log: pytest.LogCaptureFixture) -> str:
    return log.text + "\n".join(f"{record.msg!r} {record.args!r} {vars(record)!r}" for record in log.records)


async def fail(watch: Watch, work: Any) -> None:
    """Let work fail, as often as it takes to come by every path, and look at how."""
    for _ in range(2):
        with pytest.raises((aiohttp.ClientError, TimeoutError)) as caught:
            await work()
        watch.show(caught.value)


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("name", SYSTEMS)
def test_no_secret_is_shown_when_the_token_endpoint_fails(
    name: str, kind: str, log: pytest.LogCaptureFixture, *, warm: bool
) -> None:
    """Whatever the fault, cold or with a token in hand, nothing that people see holds a password or a token."""

    async def go(side: Side, watch: Watch) -> None:
        store = MemoryStore() if warm else None
        if warm:  # by another manager, which has time for it
            await TokenManager(side.provider(), store=store).token()
        async with client(manager := TokenManager(side.provider(), policy=SHORT, store=store)) as http:
            if warm:
                await manager.token()
            watch.show(manager.current)
            FAULTS[kind](side.server.token_faults)
            await fail(watch, manager.refresh)
            if not warm:
                await fail(watch, manager.token)
                await fail(watch, lambda: status_of(http, side.url()))
            watch.show(manager, manager.status(), manager.status().as_dict(), manager.origins, manager.identity)
            watch.show(
                side.provider(),
                BearerAuth(manager),
                http,
                engine_of(manager).state,
                engine_of(manager).state.cached,
                engine_of(manager).flight,
            )
            watch.show(*asyncio.all_tasks())

    with serving(name, refresh_tokens=True) as side:
        watch = Watch(side)
        asyncio.run(go(side, watch), debug=True)
        watch.check(logged=logged(log))


async def post(http: aiohttp.ClientSession, url: str) -> bytes:
    async with http.post(url, json={"a": 1}) as response:
        return await response.read()


@pytest.mark.parametrize("name", SYSTEMS)
def test_no_secret_is_shown_when_the_api_fails(name: str, log: pytest.LogCaptureFixture) -> None:
    """What aiohttp raises for a request that carried the token holds no token: it is off the request by then."""

    async def go(side: Side, watch: Watch) -> None:
        async with client(manager := side.manager(), raise_for_status=True) as http:
            async with http.get(side.url()) as response:
                watch.show(response, response.request_info, response.method)
            faults = side.server.api_faults
            for fault in (faults.disconnect, faults.server_error, faults.unauthorized, faults.hang, faults.reset):
                fault()
                await fail(watch, lambda: asyncio.wait_for(status_of(http, side.url()), 0.2))
                await fail(watch, lambda: asyncio.wait_for(post(http, side.url()), 0.2))
                if fault != faults.reset:  # which cuts no WebSocket
                    await fail(watch, lambda: asyncio.wait_for(http.ws_connect(side.url("/api/ws")), 0.2))
                faults.clear()
            side.server.refuse_connections()
            await asyncio.sleep(0.05)
            await fail(watch, lambda: status_of(http, side.url()))
            side.server.accept_connections()
            await fail(watch, lambda: status_of(http, side.url("/api/redirect?to=http://127.0.0.1:1/")))
            watch.show(manager, http, *asyncio.all_tasks())

    with serving(name) as side:
        watch = Watch(side)
        asyncio.run(go(side, watch), debug=True)
        watch.check(logged=logged(log))


async def chunks(error: Exception | None = None) -> AsyncIterator[bytes]:
    if error is not None:
        raise error
    yield b"x"


BODIES: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "bytes": lambda: b"x" * 100,
    "large": lambda: b"x" * 900_000,
    "form": lambda: {"a": "b"},
    "chunks": chunks,
    "broken chunks": lambda: chunks(ValueError("a bug of the caller's")),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("body", BODIES)
def test_no_secret_is_shown_by_a_connection_that_closes_under_a_request(
    body: str, moment: Moment, log: pytest.LogCaptureFixture, *, on_uvloop: bool
) -> None:
    """A kept-alive connection that closes as the request is written: no frame of the error's chain has the headers."""
    if on_uvloop and moment == "while":
        pytest.skip("uvloop writes a request at once: nothing can come in between")

    async def go(side: Side, watch: Watch) -> None:
        connector = ClosingConnector(moment)
        async with (
            side.manager() as manager,
            aiohttp.ClientSession(connector=connector) as plain,
            wrap_session(plain, manager) as http,
        ):
            assert await status_of(http, side.url()) == 200
            connector.closes = True
            await fail(watch, lambda: http.post(side.url(), data=BODIES[body]()))
            await fail(watch, lambda: status_of(http, side.url()))  # which aiohttp itself sends once more
            await fail(watch, lambda: http.ws_connect(side.url("/api/ws")))

    with serving() as side:
        watch = Watch(side)
        asyncio.run(go(side, watch), debug=True)
        watch.check(logged=logged(log))


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", SYSTEMS)
def test_no_secret_is_shown_by_a_connection_that_closes_under_a_token_request(
    name: str, moment: Moment, log: pytest.LogCaptureFixture, *, on_uvloop: bool
) -> None:
    """The same for passwords and for what a chain sends, whatever goes wrong with the session that was given."""
    if on_uvloop and moment == "while":
        pytest.skip("uvloop writes a request at once: nothing can come in between")

    async def go(side: Side, watch: Watch) -> None:
        connector = ClosingConnector(moment)
        http = aiohttp.ClientSession(connector=connector)
        manager = side.manager(SHORT, http=http)
        async with http:
            await side.manager(http=http).token()  # so that there is a connection
            connector.closes = True
            await fail(watch, manager.refresh)
            secret_client = ClientCredentials(
                token_url=f"{side.server.url}/token", client_id="app", client_secret=side.server.settings.password
            )
            await fail(watch, TokenManager(secret_client, policy=SHORT, http=http).token)
        await fail(watch, manager.refresh)  # RuntimeError: the session is closed
        await manager.close()

    with serving(name) as side:
        watch = Watch(side)
        asyncio.run(go(side, watch), debug=True)
        watch.check(logged=logged(log))


@pytest.mark.skipif(not hasattr(aiohttp_client, "get_custom_headers"), reason="this version records no headers")
@pytest.mark.parametrize("name", SYSTEMS)
def test_no_secret_is_in_a_span_that_records_all_headers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenTelemetry's instrumentation of aiohttp, told to record every header, sees none that holds a secret."""
    for kind in ("REQUEST", "RESPONSE"):
        monkeypatch.setenv(f"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_{kind}", ".*")
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))

    async def go(side: Side) -> None:
        async with client(side.manager(), raise_for_status=True) as http:
            assert await status_of(http, side.url()) == 200
            await status_of(http, side.url("/api/redirect?to=/api/echo"))
            side.server.revoke()
            assert await status_of(http, side.url()) == 200
            for fault in (side.server.api_faults.unauthorized, side.server.api_faults.disconnect):
                fault(times=4)
                with pytest.raises(aiohttp.ClientError):
                    await status_of(http, side.url())
        secret_client = ClientCredentials(
            token_url=f"{side.server.url}/token", client_id="app", client_secret=side.server.settings.password
        )
        with pytest.raises(AuthError):
            await TokenManager(secret_client, policy=QUICK).token()

    instrumentor = aiohttp_client.AioHttpClientInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        with serving(name) as side:
            asyncio.run(go(side))
            secrets = {MARK, side.server.settings.password, *entries_of(ledger_of(side.server))}
    finally:
        instrumentor.uninstrument()
    shown = "\n".join(span.to_json() for span in memory.get_finished_spans())
    assert shown.count("http.request.header.accept") > 5  # headers are recorded
    assert f"{side.server.url}/token" in shown or "/login" in shown  # those of token requests, too
    assert not [secret for secret in secrets if secret in shown]
    assert "authorization" not in shown.lower()


def test_no_secret_is_shown_by_a_response() -> None:
    """A response that says what was asked does not say with which token."""

    async def go(side: Side) -> None:
        async with client(manager := side.manager()) as http:
            value = (await manager.token()).value
            for revoked in (False, True):
                if revoked:
                    side.server.revoke()
                async with http.get(side.url()) as response:
                    assert response.status == 200
                    value = (await manager.token()).value
                    assert value not in repr(response.request_info)
                    assert value not in repr(response.raise_for_status)

    with serving() as side:
        asyncio.run(go(side))


@pytest.mark.parametrize("name", SYSTEMS)
def test_no_secret_is_shown_when_callers_are_cancelled_or_the_manager_closed(
    name: str, log: pytest.LogCaptureFixture
) -> None:
    """Cancelled in the middle, closed in the middle, timed out in the middle: no traceback holds a secret."""

    async def go(side: Side, watch: Watch) -> None:
        side.server.token_faults.hang(processed=True)
        manager = side.manager(RefreshPolicy(close_grace=0.05))
        async with client(manager) as http:
            callers = [asyncio.create_task(manager.token()), asyncio.create_task(status_of(http, side.url()))]
            with pytest.raises(TimeoutError) as caught:
                await status_of(http, side.url(), timeout=aiohttp.ClientTimeout(total=0.1))
            watch.show(caught.value, *asyncio.all_tasks())
            callers[0].cancel()
            await manager.close()
            watch.show(*await asyncio.gather(*callers, return_exceptions=True), manager)
            await fail(watch, manager.token)

    with serving(name) as side:
        watch = Watch(side)
        asyncio.run(go(side, watch), debug=True)
        watch.check(logged=logged(log))


def test_no_secret_is_shown_by_a_callable_that_fails(log: pytest.LogCaptureFixture) -> None:
    """The exception of a credential callable is not shown, nor its text and frames; its class and place are."""

    def broken() -> str:
        secret = MARK
        raise RuntimeError(secret)

    async def go(side: Side, watch: Watch) -> None:
        manager = TokenManager(Peakly(username="me", password=broken, base_url=side.server.url), policy=QUICK)
        async with client(manager) as http:
            await fail(watch, manager.token)
            await fail(watch, lambda: status_of(http, side.url()))
            watch.show(manager, manager.status())

    with serving() as side:
        watch = Watch(side)
        asyncio.run(go(side, watch), debug=True)
        assert "RuntimeError" in "".join(watch.texts)
        watch.check(logged=logged(log))


def test_no_secret_is_shown_by_an_argument_that_cant_work() -> None:
    """An error about a credential does not quote it, nor does its traceback."""
    with serving() as side:
        watch = Watch(side)
        for arguments in (
            {"username": "me", "password": f"{MARK}\n"},
            {"username": "", "password": MARK},
            {"username": "me", "password": MARK, "base_url": "nonsense"},
            {"username": "me", "password": MARK, "base_url": "http://example.com"},
            {"username": "me", "password": MARK, "environment": "nowhere"},
        ):
            try:
                Peakly(**arguments)  # type: ignore[arg-type] # that is the test
            except aiohttp.ClientError as error:
                # Without this frame, whose own locals are the caller's affair.
                error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
                watch.show(error)
        assert len(watch.texts) >= 5
        watch.check(logged="")


@pytest.mark.leaves_tasks(reason="the manager is not closed")
def test_no_secret_is_shown_by_what_was_not_closed() -> None:
    """The warning of a manager that was entered and never closed names it, and no secret."""

    async def go(side: Side) -> None:
        async with aiohttp.ClientSession() as http:
            manager = await side.manager(http=http).__aenter__()
            await manager.token()

    with serving() as side, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(go(side))
        gc.collect()
        watch = Watch(side)
        watch.show(*(warning.message for warning in caught if "Unclosed <TokenManager" in str(warning.message)))
        watch.check(logged="")


async def test_sessions_and_wrappers_show_no_secret() -> None:
    """client_session, wrap_session and what is wrong with their arguments show no secret."""
    with serving() as side:
        watch = Watch(side)
        async with client_session(side.provider()) as http, aiohttp.ClientSession() as plain:
            assert await status_of(http, side.url()) == 200
            manager = side.manager()
            async with wrap_session(plain, manager) as wrapped:
                assert await status_of(wrapped, side.url()) == 200
                watch.show(http, wrapped, vars(wrapped), vars(http))
            try:
                BearerAuth(manager, manager)
            except ConfigurationError as error:
                watch.show(error)
            await manager.close()
        watch.check(logged="")
