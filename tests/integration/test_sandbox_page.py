"""The sandbox's page on real sockets: who may use it, and what it receives."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest
import pytest_asyncio
from inside_kit import stream_of
from loopback import nothing_left, until

from asyncauth.sandbox import DEFAULT_PASSWORD, DEFAULT_USERNAME, Sandbox
from asyncauth.sandbox.page import stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FORM = {"grant_type": "password", "username": DEFAULT_USERNAME, "password": DEFAULT_PASSWORD}
MARK = {"X-Asyncauth-Sandbox": "page"}


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with nothing_left(), Sandbox(page=True) as sandbox:
        yield sandbox


@pytest_asyncio.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        yield http


def page_of(sandbox: Sandbox) -> str:
    """Return the page's address without the slash."""
    assert sandbox.page_url is not None
    return sandbox.page_url.rstrip("/")


async def order(http: aiohttp.ClientSession, sandbox: Sandbox, name: str, body: Any, **headers: str) -> tuple[int, Any]:
    """Give an order as the page does, but for these headers (an empty one is left out)."""
    url = page_of(sandbox)
    sent = {"Origin": url, "Sec-Fetch-Site": "same-origin", **MARK, **headers}
    async with http.post(
        f"{url}/_sandbox/{name}", json=body, headers={name: value for name, value in sent.items() if value}
    ) as response:
        return response.status, await response.json()


async def token_of(http: aiohttp.ClientSession, sandbox: Sandbox) -> str:
    """Obtain a token of Peakly's."""
    async with http.post(f"{sandbox.peakly.url}/token", data=FORM) as response:
        token: str = (await response.json())["access_token"]
        return token


@attrs.define
class Listener:
    """An ``EventSource`` without a browser."""

    response: aiohttp.ClientResponse
    last: str = ""

    async def next(self, kind: str) -> Any:
        """Return the data of the next event of this kind."""
        seen = None
        while True:
            line = (await self.response.content.readline()).decode().rstrip("\n")
            field, _, value = line.partition(": ")
            if field == "id":
                self.last = value
            elif field == "event":
                seen = value
            elif field == "data" and seen == kind:
                return json.loads(value)


def listen(http: aiohttp.ClientSession, sandbox: Sandbox, last: str | None = None) -> Any:
    """Ask for the events, as a browser that has seen ``last``."""
    return http.get(f"{page_of(sandbox)}/events", headers={} if last is None else {"Last-Event-ID": last})


async def test_there_is_no_page_unless_it_is_asked_for() -> None:
    """A sandbox has no page, and no third port, by default."""
    async with Sandbox() as sandbox:
        assert sandbox.page_url is None


async def test_the_page_and_its_files(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """The page, its style, scripts and texts come from here, under a policy that allows nothing else."""
    for path, kind in (
        ("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript"), ("/icon.svg", "image/svg+xml"),
        ("/texts.json", "application/json"), ("/description", "application/json"),
    ):  # fmt: skip
        async with http.get(page_of(sandbox) + path) as response:
            assert (response.status, response.content_type) == (200, kind)
            assert await response.read()
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Cache-Control"] == "no-store"
    for path in ("/nothing", "/static/page.js", "/../server.py", "/index.html", "/api/x"):
        async with http.get(page_of(sandbox) + path) as response:
            assert response.status == 404
    async with http.post(page_of(sandbox) + "/") as response:
        assert response.status == 405


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": ""},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"X-Asyncauth-Sandbox": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {"Host": "127.0.0.1.evil.example", "Origin": "http://127.0.0.1.evil.example"},
        {"Host": "127.0.0.1@evil.example", "Origin": "http://127.0.0.1@evil.example"},
        {"Host": "192.0.2.7", "Origin": "http://192.0.2.7"},
    ],
    ids=str,
)
async def test_nobody_else_can_give_orders(
    sandbox: Sandbox, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    """An order without the page's own origin, header and host is refused and changes nothing."""
    before = sandbox.state()
    for name, body in (("settings", {"peakly": {"lifetime": 5}}), ("reset", {}), ("revoke", {}), ("abort", {})):
        assert (await order(http, sandbox, name, body, **headers))[0] == 403
    assert sandbox.state() == before


async def test_nothing_is_allowed_to_other_origins(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """A browser that asks whether another page may change settings gets no permission."""
    asked = {
        "Origin": "http://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-asyncauth-sandbox,content-type",
    }
    async with http.options(f"{page_of(sandbox)}/_sandbox/reset", headers=asked) as response:
        assert response.status == 405
        assert not [name for name in response.headers if name.lower().startswith("access-control-")]


async def test_a_rebound_name_reads_nothing(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """To a name that was pointed at this machine the page says nothing, whatever is asked; to our addresses it does."""
    for path in ("/", "/events", "/description", "/_sandbox/state", "/_sandbox/log", "/page.js"):
        for host in ("evil.example", f"evil.example:{page_of(sandbox).rpartition(':')[2]}", "", "127.0.0.1:x"):
            async with http.get(page_of(sandbox) + path, headers={"Host": host}) as response:
                assert response.status in {400, 403}, (path, host)
    for host in ("localhost:9", "LOCALHOST", "[::1]:80", "127.0.0.1"):
        async with http.get(page_of(sandbox) + "/description", headers={"Host": host}) as response:
            assert response.status == 200, host


async def test_other_pages_cannot_listen(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """A browser that says that another page asks is refused everything but the page itself."""
    for path, status in (("/", 200), ("/events", 403), ("/description", 403), ("/_sandbox/state", 403)):
        async with http.get(page_of(sandbox) + path, headers={"Sec-Fetch-Site": "cross-site"}) as response:
            assert response.status == status


async def test_remote_pages_answer_to_addresses() -> None:
    """Where other machines may connect, any address will do, a name that somebody could rebind will not."""
    async with (
        Sandbox(host="0.0.0.0", allow_remote=True, page=True) as sandbox,  # noqa: S104
        aiohttp.ClientSession() as http,
    ):
        assert sandbox.page_url is not None
        url = sandbox.page_url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        for host, status in (("192.0.2.7:8080", 200), ("[2001:db8::1]", 200), ("evil.example", 403)):
            async with http.get(url, headers={"Host": host}) as response:
                assert response.status == status


async def test_orders_from_the_page(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """The page switches faults one by one, revokes one token, and cuts connections; a mistake changes nothing."""
    token = await token_of(http, sandbox)
    status, state = await order(
        http, sandbox, "fault", {"system": "peakly", "plan": "api_faults", "fault": {"kind": "hang", "times": 3}}
    )
    assert (status, state["peakly"]["api_faults"]) == (200, [{"kind": "hang", "times": 3}])
    off = {"system": "peakly", "plan": "api_faults", "fault": {"kind": "hang"}, "on": False}
    assert (await order(http, sandbox, "fault", off))[1]["peakly"]["api_faults"] == []
    (shown,) = sandbox.peakly.tokens(9)
    for fingerprint, number in (("nonsense", 0), (shown.fingerprint, 1), (shown.fingerprint, 0)):
        which = {"system": "peakly", "fingerprint": fingerprint}
        assert await order(http, sandbox, "revoke", which) == (200, {"revoked": {"peakly": number}})
    headers = {"Authorization": f"Bearer {token}"}
    async with http.get(f"{sandbox.peakly.url}/api/x", headers=headers) as response:
        assert response.status == 401
    assert (await order(http, sandbox, "abort", {"system": "peakly"}))[0] == 200
    before = sandbox.state()
    for name, mistake in (
        ("fault", {"system": "peakly", "plan": "nope", "fault": {"kind": "hang"}}),
        ("fault", {"system": "peakly", "plan": [], "fault": {"kind": "hang"}}),
        ("fault", {"plan": "api_faults", "fault": {"kind": "hang"}}),
        ("fault", {"system": "peakly", "plan": "api_faults", "fault": {"kind": "wrong_credentials"}}),
        ("fault", {"system": "peakly", "plan": "api_faults", "fault": {"kind": "hang"}, "on": 1}),
        ("fault", {"system": "peakly", "plan": "api_faults"}),
        ("revoke", {"fingerprint": shown.fingerprint}),
        ("revoke", {"system": "peakly", "fingerprint": 1}),
        ("revoke", {"system": "peakly", "fingerprint": "x", "step": "access_token"}),
        ("abort", {"system": "nope"}),
        ("abort", {"who": 1}),
    ):
        assert (await order(http, sandbox, name, mistake))[0] == 400, mistake
    assert sandbox.state() == before


async def test_the_page_stays_when_a_system_refuses_connections(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """The page has a port of its own: it closes both systems' ports and opens them again."""
    closed = {name: {"refuse_connections": True} for name in sandbox.systems}
    assert (await order(http, sandbox, "settings", closed))[0] == 200
    with pytest.raises(aiohttp.ClientConnectorError):
        await token_of(http, sandbox)
    status, state = await order(http, sandbox, "settings", {name: {"refuse_connections": False} for name in closed})
    assert (status, state["peakly"]["accepting"]) == (200, True)
    assert await token_of(http, sandbox)


async def test_programs_use_the_controls_on_the_pages_port(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """Where both systems refuse connections a program still has it, and opens them again."""
    controls = f"{page_of(sandbox)}/_sandbox"
    for system in sandbox.systems.values():
        system.refuse_connections()
    async with http.get(f"{controls}/state") as response:
        assert not (await response.json())["peakly"]["accepting"]
    opened = {name: {"refuse_connections": False} for name in sandbox.systems}
    async with http.post(f"{controls}/settings", json=opened) as response:
        assert response.status == 200
    assert await token_of(http, sandbox)


async def test_events_tell_the_state_and_the_requests(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """A listener gets the state and the requests so far, then what is new, and no secret in any of it."""
    token = await token_of(http, sandbox)
    async with listen(http, sandbox) as response:
        listener = Listener(response)
        assert response.content_type == "text/event-stream"
        state = await listener.next("state")
        (shown,) = state["systems"]["peakly"]["tokens"]
        assert shown["kind"] == "access_token"
        assert 0 < shown["dies_at"] - state["now"] <= 14 * 86400
        news = await listener.next("requests")
        assert (news["afresh"], [record["path"] for record in news["records"]]) == (True, ["/token"])
        sandbox.peakly.settings.lifetime = 33
        changed = await listener.next("state")
        assert changed["systems"]["peakly"]["settings"]["lifetime"] == 33
        headers = {"Authorization": f"Bearer {token}"}
        async with http.get(f"{sandbox.peakly.url}/api/x", params={"q": "private"}, headers=headers):
            pass
        more = await listener.next("requests")
        assert (more["afresh"], more["missed"]) == (False, 0)
        assert [(record["path"], record["status"]) for record in more["records"]] == [("/api/x", 200)]
        told = json.dumps([state, news, changed, more])
        assert not [secret for secret in (token, token[:12], "private") if secret in told]
        assert state["systems"]["peakly"]["login"] == {"username": DEFAULT_USERNAME, "password": DEFAULT_PASSWORD}
        assert DEFAULT_PASSWORD not in json.dumps([news, more, sandbox.state()])


async def test_a_listener_that_comes_back_goes_on(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """With its Last-Event-ID a listener gets what it has missed; with one of another run, everything afresh."""
    await token_of(http, sandbox)
    async with listen(http, sandbox) as response:
        listener = Listener(response)
        await listener.next("requests")
    await token_of(http, sandbox)
    await token_of(http, sandbox)
    async with listen(http, sandbox, listener.last) as response:
        news = await Listener(response).next("requests")
        assert (news["afresh"], news["missed"], len(news["records"])) == (False, 0, 2)
    run, total, cleared = listener.last.split("-")
    for last in (
        f"other-{total}-{cleared}", f"{run}-999-{cleared}", f"{run}-{total}-7", f"{run}-x-{cleared}", run, "-", "ñ",
        f"{run}-{'9' * 5000}-0", f"{run}-²-{cleared}",
    ):  # fmt: skip
        async with listen(http, sandbox, last) as response:
            news = await Listener(response).next("requests")
            assert (news["afresh"], len(news["records"])) == (True, 3), last
    sandbox.reset_counts()
    async with listen(http, sandbox, listener.last) as response:
        news = await Listener(response).next("requests")
        assert (news["afresh"], news["records"]) == (True, [])


async def test_what_a_listener_gets_is_bounded(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """Of a burst, the page gets the newest requests and the number of the others; likewise for tokens."""
    async with listen(http, sandbox) as response:
        listener = Listener(response)
        await listener.next("requests")
        record = None
        await token_of(http, sandbox)
        record = sandbox.log[-1]
        for _ in range(3000):
            sandbox.log.append(record)
        for _ in range(50):
            await token_of(http, sandbox)
        told = missed = 0
        while told + missed < 3051:
            news = await listener.next("requests")
            assert len(news["records"]) <= stream.MOST_RECORDS
            told, missed = told + len(news["records"]), missed + news["missed"]
        assert told + missed == 3051
        assert len(sandbox.log) == 1000
    async with listen(http, sandbox) as response:
        state = (await Listener(response).next("state"))["systems"]["peakly"]
        assert (len(state["tokens"]), state["living_tokens"]) == (stream.MOST_TOKENS, {"access_token": 51})


async def test_too_many_listeners_are_turned_away(
    sandbox: Sandbox, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is room for a number of listeners; one that leaves makes room."""
    monkeypatch.setattr(stream, "MOST_CLIENTS", 2)
    async with listen(http, sandbox) as first, listen(http, sandbox) as second:
        assert (first.status, second.status) == (200, 200)
        async with listen(http, sandbox) as third:
            assert third.status == 503
    events = stream_of(sandbox)
    await until(lambda: events.listeners == 0)
    async with listen(http, sandbox) as again:
        assert again.status == 200


async def test_a_listener_that_takes_nothing_is_cut_off(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener that stops reading is dropped, and holds up neither the systems nor the other listeners."""
    events = stream_of(sandbox)
    monkeypatch.setattr(events, "_patience", 0.05)
    monkeypatch.setattr(events, "_beat", 0.0)
    monkeypatch.setattr(stream, "view", lambda _: {"filler": "x" * 200_000, "turn": sandbox.log.total})
    host, port = page_of(sandbox).removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(f"GET /events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(20), aiohttp.ClientSession() as http:
            while events.listeners:
                await token_of(http, sandbox)
    finally:
        writer.transport.abort()


async def test_listeners_do_not_hold_up_the_end() -> None:
    """Leaving the sandbox ends all listeners at once, and leaves no task behind."""
    async with nothing_left(), aiohttp.ClientSession() as http:
        async with Sandbox(page=True) as sandbox, asyncio.timeout(5):
            responses = [await listen(http, sandbox) for _ in range(3)]
        for response in responses:
            with pytest.raises(aiohttp.ClientError):
                await response.read()
            response.close()


async def test_a_long_look_leaves_time_to_others(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it takes long to see what there is (very many tokens), the next look waits nine times as long."""

    def slowly(_: object) -> dict[str, object]:
        time.sleep(0.02)
        return {"turn": time.monotonic()}

    monkeypatch.setattr(stream, "view", slowly)
    events = stream_of(sandbox)
    monkeypatch.setattr(events, "_beat", 0.0)
    told = events.events(None)
    await anext(told)
    started = time.monotonic()
    await anext(told)
    assert time.monotonic() - started >= 9 * 0.02
    await told.aclose()


async def test_a_stream_tells_nothing_while_nothing_happens(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server polls, and sends news as soon as there is any."""
    looks: list[int] = []
    state: dict[str, object] = {"turn": 1}

    def look(_: object) -> dict[str, object]:
        looks.append(1)
        return dict(state)

    monkeypatch.setattr(stream, "view", look)
    events = stream_of(sandbox)
    monkeypatch.setattr(events, "_beat", 0.0)
    told = events.events(None)
    await anext(told)
    waiting = asyncio.ensure_future(anext(told))
    while len(looks) < 10:  # noqa: ASYNC110 (of another's)
        await asyncio.sleep(0)
    assert not waiting.done()
    state["turn"] = 2
    assert '"turn": 2' in (await waiting).replace('"turn":2', '"turn": 2')
    await told.aclose()


async def test_an_idle_stream_says_that_it_is_there(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing happens a comment is sent from time to time, so that a listener that has gone is noticed."""
    monkeypatch.setattr(stream, "_STILL_THERE", 0.0)
    events = stream_of(sandbox).events(None)
    assert "event: state" in await anext(events)
    assert await anext(events) == ": still there\n\n"
    await events.aclose()
