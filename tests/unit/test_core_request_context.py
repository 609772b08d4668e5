"""What a provider of a user's own can tell its manager, and what the manager does about it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from harness.canary import secret
from store_client_kit import EXACT, CommandedStore, during

from asyncauth import (
    AuthError,
    ConfigurationError,
    CredentialsRejected,
    InvalidTokenResponse,
    RequestContext,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
    current_request_context,
)
from asyncauth.testing import FakeClock

NOTHING: Mapping[str, str] = {}


class Server:
    """Knows one secret, rotates refresh tokens, and does what it is told.

    Attributes:
        right: The secret that it knows.
        good: The refresh tokens that it takes.
        received: What arrived, in turn.
        answers: What becomes of the next requests with a good credential, in turn; 200 once there are none left.
        takes: Seconds for an answer.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.right = "right"
        self.good: set[str] = set()
        self.received: list[str] = []
        self.answers: list[int | Exception] = []
        self.takes = 0.0

    async def answer(self, credential: str) -> int:
        self.received.append(credential)
        await self.clock.sleep(self.takes)
        if credential != self.right and credential not in self.good:
            return 401
        answer = self.answers.pop(0) if self.answers else 200
        if answer == 200 or isinstance(answer, TimeoutError):
            self.good.discard(credential)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def rotated(self) -> str:
        token = f"refresh-{len(self.received)}"
        self.good.add(token)
        return token


class Acme:
    """A user's provider: it sends the refresh token, else its secret.

    Attributes:
        secret: What it sends.
        may_change: Whether it says that the secret may change.
        needs_lock: Whether it has no secret besides, once there is a refresh token.
        thinks: Seconds that pass before it sends anything.
        headers: Those of each answer.
        unreadable: What reading the next success raises.
    """

    name = "acme"
    identity = "acme account=me"
    origins = ("https://api.acme.example",)

    def __init__(self, server: Server) -> None:
        self.server = server
        self.secret = "right"
        self.may_change = True
        self.thinks = 0.0
        self.headers: Mapping[str, str] = NOTHING
        self.unreadable: Exception | None = None
        self.needs_lock = False
        self.calls = 0

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        self.calls += 1
        await self.server.clock.sleep(self.thinks)
        context = current_request_context()
        if previous is not None and previous.refresh_token is not None:
            context.sending(previous.refresh_token, refresh_token=True)
            status = await self.send(context, previous.refresh_token)
            if status != 401:
                return self.token(context, status)
            if self.needs_lock:
                raise context.rejected("log in again", status=401)
            context.refresh_token_rejected()
        context.sending(self.secret, may_change=self.may_change)
        return self.token(context, await self.send(context, self.secret))

    async def send(self, context: RequestContext, credential: str) -> int:
        try:
            status = await self.server.answer(credential)
        except ConnectionRefusedError:
            context.not_sent()
            raise
        context.answered(status, self.headers)
        return status

    def token(self, context: RequestContext, status: int) -> Token:
        if status == 401:
            raise context.rejected("check the secret", status=status, error="no", error_description="who?")
        if status != 200:
            raise TokenEndpointUnavailable("later", status=status)
        if self.unreadable is not None:
            raise self.unreadable
        return self.made(context)

    def made(self, context: RequestContext) -> Token:
        return Token(f"t{self.calls}", issued_at=0, expires_at=3600, refresh_token=self.server.rotated())


@pytest.fixture
def server(clock: FakeClock) -> Server:
    return Server(clock)


@pytest.fixture
def acme(server: Server) -> Acme:
    return Acme(server)


def managed(provider: Acme, store: CommandedStore | None = None) -> TokenManager:
    return TokenManager(provider, clock=provider.server.clock, store=store, policy=EXACT)


async def outcome(manager: TokenManager, clock: FakeClock, *, by_hand: bool = False) -> str | AuthError:
    try:
        return (await during(clock, manager.refresh() if by_hand else manager.token())).value  # type: ignore[no-any-return]
    except AuthError as error:
        return error


# --- A rejected credential


async def test_a_rejected_credential_is_sent_once_per_cooldown(acme: Acme, clock: FakeClock) -> None:
    """However often it is asked for, a wrong secret that may change reaches the server once in 60 s."""
    acme.secret, manager = "wrong", managed(acme)
    for _ in range(5):
        error = await outcome(manager, clock)
        assert isinstance(error, CredentialsRejected)
        assert str(error) == 'check the secret [acme, status 401]; the server says "no: who?"'
    await clock.advance(58)
    await outcome(manager, clock)
    assert acme.server.received == ["wrong"]
    await clock.advance(2)
    await outcome(manager, clock)
    assert acme.server.received == ["wrong", "wrong"]


async def test_a_credential_that_changed_is_sent_within_the_cooldown(acme: Acme, clock: FakeClock) -> None:
    """A wrong secret is sent ever more seldom. It is looked at once in 60 s all the same, and a new one is sent."""
    acme.secret, manager = "wrong", managed(acme)
    for _ in range(2):
        await outcome(manager, clock)
        await clock.advance(61)
    calls = acme.calls
    assert isinstance(await outcome(manager, clock), CredentialsRejected)
    assert acme.calls == calls + 1
    assert acme.server.received == ["wrong", "wrong"]
    acme.secret = "right"
    await clock.advance(61)
    assert isinstance(await outcome(manager, clock), str)
    assert acme.server.received == ["wrong", "wrong", "right"]


async def test_a_provider_whose_credential_is_fixed_is_not_asked(acme: Acme, clock: FakeClock) -> None:
    """A secret that can't change is not looked at before the cool-down is over, which doubles."""
    acme.secret, acme.may_change, manager = "wrong", False, managed(acme)
    for _ in range(12):
        await outcome(manager, clock)
        await clock.advance(15)
    assert acme.calls == 2  # at 0 s and 60 s; then at 180 s


async def test_a_credential_rejected_elsewhere_is_not_sent(server: Server, clock: FakeClock) -> None:
    """With a shared store, a wrong secret is sent once by all processes together, and the error says by whom."""
    store = CommandedStore()
    one, other, right = Acme(server), Acme(server), Acme(server)
    one.secret = other.secret = "wrong"
    first = await outcome(managed(one, store), clock)
    second = await outcome(managed(other, store), clock)
    assert isinstance(first, CredentialsRejected)
    assert not first.unsent
    assert isinstance(second, CredentialsRejected)
    assert second.unsent
    assert second.may_change
    assert "the credential that another process sent" in str(second)
    assert await outcome(managed(right, store), clock) == "t1"
    assert server.received == ["wrong", "right"]


async def test_by_hand_a_rejected_credential_is_sent_at_once(acme: Acme, clock: FakeClock) -> None:
    """``refresh()`` by hand does not wait for the cool-down."""
    acme.secret, manager = "wrong", managed(acme)
    await outcome(manager, clock)
    assert isinstance(await outcome(manager, clock, by_hand=True), CredentialsRejected)
    assert acme.server.received == ["wrong", "wrong"]


def test_several_credentials_count_together() -> None:
    """The same user name with another password is another credential; none at all is known by nothing."""
    context = current_request_context()
    context.sending("ana", "one")
    one = context.rejected("no")
    context.sending("ana", "two")
    two = context.rejected("no")
    context.sending("ana", "one", may_change=True)
    again = context.rejected("no")
    context.sending()
    none = context.rejected("no")
    assert one.credential == again.credential
    assert one.credential not in (two.credential, None)
    assert none.credential is None
    assert (one.may_change, again.may_change) == (False, True)


@pytest.mark.parametrize("credential", [None, b"secret"])
def test_a_credential_is_text(credential: Any) -> None:
    """An environment variable that is unset is named as what it is, and the error's frame shows no other secret."""
    given = secret("password")
    with pytest.raises(ConfigurationError, match=f"type str, not {type(credential).__name__}") as raised:
        current_request_context().sending(given, credential)
    assert given not in repr(raised.traceback[-1].frame.f_locals)


# --- A refresh token


async def test_a_refresh_token_lost_with_its_answer_is_not_sent_again(acme: Acme, clock: FakeClock) -> None:
    """No answer came to a refresh token, and the server may have rotated it: the next try logs in."""
    manager = managed(acme)
    await outcome(manager, clock)
    acme.server.answers = [TimeoutError()]
    assert await outcome(manager, clock, by_hand=True) == "t3"
    assert acme.server.received == ["right", "refresh-1", "right"]


@pytest.mark.parametrize("why", [KeyError("token"), InvalidTokenResponse("not JSON"), aiohttp.ClientPayloadError()])
async def test_a_success_that_cannot_be_read_spends_the_refresh_token(
    acme: Acme, clock: FakeClock, why: Exception
) -> None:
    """The server said 2xx, so it may have rotated: whatever is wrong with the body, the old one is not sent again."""
    manager = managed(acme)
    await outcome(manager, clock)
    acme.unreadable = why
    assert isinstance(await outcome(manager, clock, by_hand=True), AuthError)
    acme.unreadable = None
    await outcome(manager, clock, by_hand=True)
    assert acme.server.received[:2] == ["right", "refresh-1"]
    assert acme.server.received.count("refresh-1") == 1


@pytest.mark.parametrize("answer", [503, ConnectionRefusedError()])
async def test_a_refresh_token_that_was_not_used_is_sent_again(
    acme: Acme, clock: FakeClock, answer: int | Exception
) -> None:
    """A 503, or no connection, has used nothing up: the refresh token is sent again, and nobody has to log in."""
    manager = managed(acme)
    await outcome(manager, clock)
    acme.server.answers = [answer]
    assert await outcome(manager, clock, by_hand=True) == "t3"
    assert acme.server.received == ["right", "refresh-1", "refresh-1"]


async def test_a_rejected_refresh_token_gives_way_to_the_primary_grant(acme: Acme, clock: FakeClock) -> None:
    """The server does not know the refresh token any more: the same call logs in, and it is not sent again."""
    manager = managed(acme)
    await outcome(manager, clock)
    acme.server.good.clear()
    acme.server.answers = [503]
    assert await outcome(manager, clock, by_hand=True) == "t3"
    assert acme.server.received == ["right", "refresh-1", "right", "right"]


@pytest.mark.parametrize("first", ["no answer", "a success"])
async def test_a_further_request_does_not_bring_a_refresh_token_back(
    server: Server, clock: FakeClock, first: str
) -> None:
    """Whatever the next request of the same call meets, a refresh token that may be used up is not sent again."""

    class InTwoSteps(Acme):
        async def send(self, context: RequestContext, credential: str) -> int:
            try:
                status = await super().send(context, credential)
            except TimeoutError:
                status = 200
            if credential.startswith("refresh"):
                context.sending(self.secret)
                status = await super().send(context, self.secret)
            return status

    manager = managed(InTwoSteps(server))
    await outcome(manager, clock)
    server.answers = [TimeoutError() if first == "no answer" else 200, 503]
    await outcome(manager, clock, by_hand=True)
    assert server.received == ["right", "refresh-1", "right", "right"]


async def test_the_only_way_to_a_token_is_tried_once_more(acme: Acme, clock: FakeClock) -> None:
    """With ``needs_lock`` there is nothing but the refresh token: after a lost answer it is sent again."""
    acme.needs_lock = True
    manager = managed(acme)
    await outcome(manager, clock)
    acme.server.answers = [TimeoutError()]
    error = await outcome(manager, clock, by_hand=True)
    assert isinstance(error, CredentialsRejected)
    assert acme.server.received == ["right", "refresh-1", "refresh-1"]


async def test_a_lost_refresh_token_does_not_return_through_the_store(server: Server, clock: FakeClock) -> None:
    """Another process with the same store does not send it either."""
    store = CommandedStore()
    manager = managed(Acme(server), store)
    await outcome(manager, clock)
    server.answers = [TimeoutError(), 503]
    await outcome(manager, clock, by_hand=True)
    await outcome(managed(Acme(server), store), clock, by_hand=True)
    assert server.received.count("refresh-1") == 1


# --- Time


@pytest.mark.parametrize("context_used", [False, True])
async def test_the_lifetime_counts_from_when_the_request_was_sent(
    acme: Acme, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, *, context_used: bool
) -> None:
    """What a provider does before it sends costs none of the lifetime; how long the answer takes does."""
    if not context_used:
        monkeypatch.setattr(RequestContext, "sending", lambda *_, **__: None)
    acme.thinks, acme.server.takes = 10.0, 2.0
    began = clock.wall()
    token = await during(clock, managed(acme).token())
    assert token.expires_at == began + 3600 + (10 if context_used else 0)


class Absolute(Acme):
    """A server that says until when its token lives, by its own clock, two hours ahead of ours."""

    def made(self, context: RequestContext) -> Token:
        until = 784_111_777.0 + 600  # 1994-11-06 08:49:37 GMT, and ten minutes
        return Token("t", issued_at=context.server_now, expires_at=until)


async def test_a_date_goes_by_the_servers_clock(server: Server, clock: FakeClock) -> None:
    """However wrong our clock is, ``server_now`` makes a lifetime of an absolute expiry, a cache's ``Age`` counted."""
    acme = Absolute(server)
    acme.headers = {"Date": "Sun, 06 Nov 1994 08:48:37 GMT", "Age": "60"}
    began = clock.wall()
    assert (await during(clock, managed(acme).token())).expires_at == began + 600


async def test_without_a_date_our_own_clock_when_it_was_sent_counts(clock: FakeClock) -> None:
    """``server_now`` is never missing: without a readable ``Date`` it is our clock when the request was sent."""
    seen: list[float] = []

    class Curious(Acme):
        async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
            seen.append(current_request_context().server_now)
            return await super().fetch(http, previous)

        def made(self, context: RequestContext) -> Token:
            seen.append(context.server_now)
            return super().made(context)

    acme = Curious(Server(clock))
    acme.thinks, acme.server.takes, acme.headers = 10.0, 2.0, {"Date": "yesterday"}
    began = clock.wall()
    await during(clock, managed(acme).token())
    assert seen == [began, began + 10]


# --- The rest


async def test_called_by_hand_the_context_does_no_harm(acme: Acme, clock: FakeClock) -> None:
    """Without a manager each call works as often as it is made; a rejection is raised, and not remembered."""
    acme.secret = "wrong"
    async with aiohttp.ClientSession() as http:
        for _ in range(2):
            with pytest.raises(CredentialsRejected):
                await acme.fetch(http, None)
        acme.secret = "right"
        assert (await acme.fetch(http, None)).value == "t3"
    await current_request_context().release_lock()
    assert acme.server.received == ["wrong", "wrong", "right"]


async def test_each_refresh_has_a_context_of_its_own(acme: Acme, clock: FakeClock) -> None:
    """What one manager remembers of a credential is not what another one's provider meets."""
    acme.secret, other = "wrong", Acme(acme.server)
    await outcome(managed(acme), clock)
    other.secret = "wrong"
    await outcome(managed(other), clock)
    assert acme.server.received == ["wrong", "wrong"]


async def test_the_context_has_the_managers_clock(server: Server, clock: FakeClock) -> None:
    """A provider that waits, waits by the clock that its tests move."""

    class Patient(Acme):
        async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
            context = current_request_context()
            assert context.clock is clock
            await context.release_lock()
            await context.clock.sleep(5)
            return await super().fetch(http, previous)

    assert await outcome(managed(Patient(server)), clock) == "t1"


async def test_the_lock_can_be_given_back_early(server: Server, clock: FakeClock) -> None:
    """While a provider waits for a person, another process need not wait for the store's lock."""
    store = CommandedStore()

    class Asks(Acme):
        async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
            await current_request_context().release_lock()
            await clock.sleep(20)
            return await super().fetch(http, previous)

    waiting = asyncio.ensure_future(managed(Asks(server), store).token())
    await clock.advance(1)
    assert await outcome(managed(Acme(server), store), clock) == "t1"
    assert not waiting.done()
    assert (await during(clock, waiting)).value
