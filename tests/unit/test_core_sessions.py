"""Which HTTP session a token request is sent with, who closes it, and what else an entered manager keeps open."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import attrs
import pytest
from core_kit import engine_of
from harness.canary import MARK
from inside_kit import managers_of

from asyncauth import (
    AuthError,
    ConfigurationError,
    ManagerClosed,
    ManagerPool,
    PagoFacil,
    Peakly,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
    client_session,
)
from asyncauth._core.sessions import LONGEST_HEADER, LoopEntry, Sessions, own_session
from asyncauth._http.aiohttp_compat import settings_of
from asyncauth.testing import FakeClock

URL = "https://api.example.com"


@attrs.define
class Noting:
    """A provider that notes the session and the loop of each token request."""

    name: str = "noting"
    origins: tuple[str, ...] = (URL,)
    identity: str | None = "noting"
    asked: list[tuple[aiohttp.ClientSession, asyncio.AbstractEventLoop]] = attrs.field(factory=list[Any])

    @property
    def sessions(self) -> list[aiohttp.ClientSession]:
        return [session for session, _ in self.asked]

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        assert not http.closed
        self.asked.append((http, asyncio.get_running_loop()))
        return Token(f"token-{len(self.asked)}")


@attrs.define
class Maker:
    """A function for ``http=`` that keeps what it made."""

    made: list[aiohttp.ClientSession] = attrs.field(factory=list[Any])

    def __call__(self) -> aiohttp.ClientSession:
        self.made.append(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        return self.made[-1]

    async def later(self) -> aiohttp.ClientSession:
        await asyncio.sleep(0)
        return self()


def plain(maker: Maker) -> Callable[[], Any]:
    return maker


def coroutine(maker: Maker) -> Callable[[], Any]:
    return maker.later


WAYS = pytest.mark.parametrize("way", [plain, coroutine])


@WAYS
async def test_a_function_makes_one_session_while_entered(way: Callable[[Maker], Callable[[], Any]]) -> None:
    """It serves every refresh, and the manager closes it."""
    maker, provider = Maker(), Noting()
    async with TokenManager(provider, http=way(maker)) as manager:
        await manager.refresh()
        await manager.refresh()
        assert not maker.made[0].closed
    assert provider.sessions == [maker.made[0]] * 2
    assert [session.closed for session in maker.made] == [True]


@WAYS
async def test_a_function_makes_one_per_refresh_while_not_entered(way: Callable[[Maker], Callable[[], Any]]) -> None:
    """Each is closed after its refresh: nothing is left to close."""
    maker, provider = Maker(), Noting()
    manager = TokenManager(provider, http=way(maker))
    await manager.refresh()
    await manager.refresh()
    assert provider.sessions == maker.made
    assert [session.closed for session in maker.made] == [True, True]


@WAYS
def test_a_function_makes_one_per_event_loop(way: Callable[[Maker], Callable[[], Any]]) -> None:
    """A session serves only the event loop on which it was made."""
    maker, provider = Maker(), Noting()
    manager = TokenManager(provider, http=way(maker))

    async def use() -> asyncio.AbstractEventLoop:
        async with manager:
            await manager.refresh()
            return asyncio.get_running_loop()

    loops = [asyncio.run(use()) for _ in range(2)]
    assert len(maker.made) == 2
    assert provider.asked == list(zip(maker.made, loops, strict=True))
    assert all(session.closed for session in maker.made)


async def test_each_step_of_a_chain_is_sent_that_way() -> None:
    """The managers further upstream get the function, too."""
    maker, upstream = Maker(), Noting()
    manager = TokenManager(PagoFacil(jwt=upstream, base_url="http://127.0.0.1:1"), http=maker)
    await engine_of(manager).upstreams[0].token()
    assert upstream.sessions == maker.made
    assert maker.made[0].closed


async def test_a_pools_managers_share_what_a_function_makes() -> None:
    """One session per event loop for all tenants, however many refresh at once."""
    maker, providers = Maker(), {"a": Noting(), "b": Noting()}
    async with ManagerPool(providers.__getitem__, http=maker.later) as pool:
        managers = [await pool.get(key) for key in providers]
        await asyncio.gather(*(manager.token() for manager in managers))
    assert [provider.sessions for provider in providers.values()] == [maker.made, maker.made]
    assert [session.closed for session in maker.made] == [True]


async def test_a_session_that_somebody_closed_is_made_anew() -> None:
    """A caller who closes what the manager uses costs nobody a token."""
    maker, provider = Maker(), Noting()
    async with TokenManager(provider, http=maker) as manager:
        await manager.refresh()
        await maker.made[0].close()
        await manager.refresh()
    assert provider.sessions == maker.made
    assert len(maker.made) == 2


# --- Functions that can't work


async def refused(http: Any, kind: type[AuthError] = ConfigurationError) -> str:
    """Return why there is no session."""
    with pytest.raises(kind) as caught:
        async with Sessions(http, 1.0).session():
            pytest.fail("there is one")
    assert type(caught.value) is kind
    return str(caught.value)


async def test_what_is_no_session() -> None:
    """The error says what was returned."""
    assert "must return an aiohttp.ClientSession, not str" in await refused(lambda: MARK)


async def test_a_function_that_fails() -> None:
    """Its error is shown by class and place, or as a network problem: its text may hold secrets."""

    async def broken() -> aiohttp.ClientSession:
        raise KeyError(MARK)

    def down() -> aiohttp.ClientSession:
        raise ConnectionResetError(MARK)

    assert "the function given as http= raised KeyError" in await refused(broken, AuthError)
    assert "the function given as http= failed: the connection" in await refused(down, TokenEndpointUnavailable)


async def test_a_function_that_cancels_itself() -> None:
    """It fails like any other: taken for a cancellation of the refresh, it would be called again without a pause."""

    async def cancelled() -> aiohttp.ClientSession:
        raise asyncio.CancelledError

    assert "given as http= failed: no answer was received" in await refused(cancelled, TokenEndpointUnavailable)


async def test_a_function_that_takes_for_ever() -> None:
    """It may take as long as a token request. Then it is cancelled, and the error says whose fault it is."""
    ended = asyncio.Event()

    async def slow() -> aiohttp.ClientSession:
        try:
            return await asyncio.Future[aiohttp.ClientSession]()
        finally:
            ended.set()

    with pytest.raises(TokenEndpointUnavailable) as caught:
        async with Sessions(slow, 0.01).session():
            pytest.fail("there is one")
    assert "the function given as http= failed: " in str(caught.value)
    assert ended.is_set()


async def test_a_function_that_returns_one_session_each_time() -> None:
    """The manager closed it after the first refresh: the second one says so."""
    async with aiohttp.ClientSession() as mine:
        manager = TokenManager(Noting(), http=lambda: mine)
        await manager.token()
        with pytest.raises(ConfigurationError, match="must make a new session each time"):
            await manager.refresh()


async def test_a_function_that_returns_another_loops_session() -> None:
    """It is not used, and stays its owner's."""
    async with aiohttp.ClientSession() as mine:
        words = await asyncio.to_thread(lambda: asyncio.run(refused(lambda: mine)))
        assert "another event loop" in words
        assert not mine.closed


async def test_a_pool_takes_no_session_that_keeps_cookies() -> None:
    """Also not from a function; what that made is closed."""
    made: list[aiohttp.ClientSession] = []

    def keeping() -> aiohttp.ClientSession:
        made.append(aiohttp.ClientSession())
        return made[-1]

    def provider_of(_: str) -> Noting:
        return Noting()

    async with ManagerPool(provider_of, http=keeping) as pool:
        manager = await pool.get("a")
        with pytest.raises(ConfigurationError, match="DummyCookieJar"):
            await manager.token()
    assert [session.closed for session in made] == [True]


async def test_a_session_that_comes_after_the_end_is_closed() -> None:
    """A close during the making of a session leaves none open."""
    entry, begun, go_on, maker = LoopEntry(), asyncio.Event(), asyncio.Event(), Maker()

    async def make() -> aiohttp.ClientSession:
        begun.set()
        await go_on.wait()
        return maker()

    opening = asyncio.ensure_future(entry.open(make))
    await begun.wait()
    await entry.close()
    go_on.set()
    with pytest.raises(ManagerClosed):
        await opening
    assert maker.made[0].closed


async def test_two_requests_at_once_make_one_session() -> None:
    """A caller that comes while the session is being made gets the same one."""
    entry, maker = LoopEntry(), Maker()

    async def make() -> aiohttp.ClientSession:
        await asyncio.sleep(0)
        return maker()

    one, other = await asyncio.gather(entry.open(make), entry.open(make))
    assert [one] == maker.made == [other]
    await entry.close()


# --- A given session


def _left_out(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "another event loop" in record.getMessage()]


async def test_a_session_that_is_left_out_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Token requests on other loops lack its proxy, certificates and headers: the log says what to do."""
    provider = Noting()
    async with aiohttp.ClientSession() as mine:
        manager = TokenManager(provider, http=mine)

        async def elsewhere() -> None:
            await manager.refresh()
            await manager.refresh()

        with caplog.at_level(logging.WARNING, "asyncauth.manager"):
            await manager.refresh()
            assert not _left_out(caplog)
            await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
    assert [session is mine for session in provider.sessions] == [True, False, False]
    (line,) = _left_out(caplog)
    assert "give http= a function that makes a session per event loop" in line


# --- The manager's own


@pytest.mark.parametrize(("seconds", "total"), [(15.0, 15.0), (float("inf"), None)])
async def test_own_sessions_take_long_headers(seconds: float, total: float | None) -> None:
    """64 KiB for one header: some servers send policies and cookies of more than aiohttp's 8,190 bytes."""
    async with own_session(seconds) as session:
        settings = settings_of(session)
        assert settings["max_field_size"] == settings["max_line_size"] == LONGEST_HEADER == 65_536
        assert session.timeout.total == total
        assert isinstance(session.cookie_jar, aiohttp.DummyCookieJar)


# --- client_session


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, (False, None)),
        ({"trust_env": True}, (True, None)),
        ({"proxy": "http://127.0.0.1:3128"}, (False, "http://127.0.0.1:3128")),
        ({"trust_env": False, "proxy": None}, (False, None)),
    ],
)
async def test_client_sessions_way_is_the_token_requests_too(
    given: dict[str, Any], wanted: tuple[bool, str | None]
) -> None:
    """``trust_env`` and ``proxy`` of the session hold for the token requests of what it makes."""
    provider = Noting()
    async with client_session(provider, **given) as http:
        await managers_of(http)[0].token()
        (session,) = provider.sessions
        proxy = settings_of(session).get("proxy")
        assert (session.trust_env, None if proxy is None else str(proxy)) == wanted
        assert session is not http


async def test_client_session_takes_a_function() -> None:
    """``http=`` is for the managers that it makes."""
    maker, provider = Maker(), Noting()
    async with client_session(provider, http=maker, trust_env=True) as http:
        await managers_of(http)[0].token()
        assert provider.sessions == maker.made
    assert maker.made[0].closed


@pytest.mark.parametrize("name", ["policy", "clock", "random"])
async def test_client_session_takes_no_managers_arguments(name: str) -> None:
    """What is a manager's alone is told from what aiohttp does not know, and the error says where it goes."""
    given: dict[str, Any] = {name: None}
    with pytest.raises(ConfigurationError, match=rf"{name}= is an argument of .* TokenManager\(…, {name}=…\)"):
        client_session(Peakly(username="me", password="secret"), **given)


async def test_client_session_makes_no_use_of_it_for_a_manager(clock: FakeClock) -> None:
    """A manager has its own."""
    manager = TokenManager(Noting(), clock=clock)
    with pytest.raises(ConfigurationError, match="http= is for providers"):
        client_session(manager, http=Maker())


def test_a_function_is_what_a_type_checker_takes() -> None:
    """Plain and async functions have the type of ``http=``."""

    async def make() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    functions: list[Callable[[], aiohttp.ClientSession | Awaitable[aiohttp.ClientSession]]] = [make, Maker()]
    assert all(TokenManager(Noting(), http=function) for function in functions)


@pytest.mark.parametrize(("given", "shown"), [("x", "str"), (aiohttp.ClientSession, "the class ClientSession")])
@pytest.mark.parametrize("kind", [TokenManager, ManagerPool])
def test_what_is_no_session_is_refused(kind: Any, given: Any, shown: str) -> None:
    """When the manager or pool is made."""
    with pytest.raises(ConfigurationError, match=f"or a function that makes one, not {shown}"):
        kind(Noting(), http=given) if kind is TokenManager else kind(Noting, http=given)


# What is kept open besides


@attrs.define(eq=False)
class Door:
    """Something that is opened and closed, and takes its time for it if a test says so."""

    waits: asyncio.Event | None = None
    fails: bool = False
    events: list[str] = attrs.field(factory=list)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        if self.waits is not None:
            await self.waits.wait()
        if self.fails:
            raise OSError
        self.events.append("open")
        try:
            yield
        finally:
            self.events.append("closed")


async def test_what_is_kept_open_is_opened_once_and_closed_in_the_end() -> None:
    """However many refreshes need it; two things are two, also if they compare equal."""
    entry, one, two = LoopEntry(), Door(), Door()
    for _ in range(3):
        await entry.keep(one, one.opened)
        await entry.keep(two, two.opened)
    assert one.events == two.events == ["open"]
    await entry.close()
    assert one.events == two.events == ["open", "closed"]


async def test_what_can_not_be_opened_is_tried_again() -> None:
    """The next refresh does."""
    entry, door = LoopEntry(), Door(fails=True)
    with pytest.raises(OSError):
        await entry.keep(door, door.opened)
    door.fails = False
    await entry.keep(door, door.opened)
    await entry.close()
    assert door.events == ["open", "closed"]


async def test_closing_waits_for_what_is_being_opened() -> None:
    """And closes it; nobody else waits for it; what comes later is not opened any more."""
    entry, door = LoopEntry(), Door(waits=asyncio.Event())
    keeping = asyncio.create_task(entry.keep(door, door.opened))
    await asyncio.sleep(0)
    await entry.keep(door, door.opened)
    late = Door()
    waiting = asyncio.create_task(entry.keep(late, late.opened))
    await asyncio.sleep(0)
    closing = asyncio.create_task(entry.close())
    await asyncio.sleep(0)
    assert door.waits is not None
    door.waits.set()
    await asyncio.gather(keeping, waiting, closing)
    assert (door.events, late.events) == (["open", "closed"], [])
    await entry.keep(late, late.opened)
    assert late.events == []


async def test_an_open_session_is_known_where_it_is_open() -> None:
    """Not before it is made, nor on another loop, nor after somebody has closed it; a given one takes the long way."""
    sessions = Sessions(None, 1.0)
    assert sessions.open_here() is None
    sessions.enter()
    assert sessions.open_here() is None
    session, own = await sessions.obtain()
    assert not own
    assert sessions.open_here() is session
    assert await asyncio.to_thread(asyncio.run, _open_in(sessions)) is None
    await session.close()
    assert sessions.open_here() is None
    for entry in sessions.leave_all():
        await entry.close()
    async with aiohttp.ClientSession() as given:
        assert Sessions(given, 1.0).open_here() is None


async def _open_in(sessions: Sessions) -> aiohttp.ClientSession | None:
    return sessions.open_here()
