"""What `AuthFlow` decides, with no HTTP client at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from core_kit import engine_of
from yarl import URL

from asyncauth import TokenManager
from asyncauth._core.cached_token import CachedToken
from asyncauth.auth_flow import AuthFlow, ServedOrigins, Step
from asyncauth.providers.oauth2.dpop import Prover
from asyncauth.testing import FakeClock, FakeProvider

Make = Callable[..., TokenManager]

API = URL("https://api.example.com/things?key=value")


class Bound(FakeProvider):
    """Its tokens are bound to a key."""

    prover = Prover.of(None)


class Request:
    """A request on its way through a flow, and whether it can be repeated."""

    def __init__(self, manager: TokenManager) -> None:
        self.manager = manager
        self.headers = {"Accept": "*/*"}
        self.repeatable = True
        self.flow: AuthFlow

    async def begin(self) -> Request:
        self.flow = AuthFlow(
            engine_of(self.manager), await self.token(), method="GET", url=API, is_repeatable=lambda: self.repeatable
        )
        self.flow.authorize(self.headers)
        return self

    async def begin_known(self) -> Request:
        """Begin anew, with a token that the API has accepted."""
        self.manager.accepted(await self.manager.token())
        return await self.begin()

    async def token(self) -> CachedToken:
        return await engine_of(self.manager).obtain()

    async def renew(self) -> Step:
        self.flow.strip(self.headers)
        step = self.flow.renewed(await self.token())
        self.flow.authorize(self.headers)
        return step


@pytest.fixture
async def request_(make: Make, provider: FakeProvider) -> Request:
    return await Request(make(provider)).begin()


async def test_the_token_is_put_on_and_taken_off(request_: Request) -> None:
    """The other headers stay; taking off what somebody took off already changes nothing."""
    token = await request_.manager.token()
    assert request_.headers == {"Accept": "*/*", "Authorization": f"Bearer {token.value}"}
    request_.flow.strip(request_.headers)
    request_.flow.strip(request_.headers)
    assert request_.headers == {"Accept": "*/*"}


@pytest.mark.parametrize("status", [200, 204, 302, 400, 403, 404, 500, 503])
async def test_any_other_answer_is_the_callers(request_: Request, provider: FakeProvider, status: int) -> None:
    """It also proves that the API knows the token."""
    assert request_.flow.answered(status, challenges=['Bearer error="invalid_token"']) is Step.RETURN
    assert engine_of(request_.manager).state.cached.accepted


async def test_a_401_renews_the_token(request_: Request) -> None:
    """The token is dropped, and the request sent again with the next one; its success is the repeat's."""
    first = await request_.manager.token()
    await request_.begin_known()
    assert request_.flow.answered(401) is Step.RENEW
    assert request_.manager.current is None
    assert await request_.renew() is Step.SEND
    assert first.value not in request_.headers["Authorization"]
    assert request_.flow.answered(200) is Step.RETURN
    assert engine_of(request_.manager).state.cached.accepted


async def test_a_401_that_another_token_would_get_too(request_: Request) -> None:
    """The token stays, and the caller gets the 401."""
    token = await request_.manager.token()
    assert request_.flow.answered(401, challenges=['Bearer error="insufficient_scope"']) is Step.RETURN
    assert request_.manager.current == token


async def test_a_body_that_is_gone(request_: Request) -> None:
    """The request is not sent again; the token is dropped all the same, for the next request's sake."""
    request_.repeatable = False
    assert request_.flow.answered(401) is Step.RETURN
    assert request_.manager.current is None


async def test_the_same_token_again(request_: Request) -> None:
    """It would get the same 401."""
    assert request_.flow.renewed(await request_.token()) is Step.RETURN


async def test_an_api_that_always_says_401(request_: Request, provider: FakeProvider) -> None:
    """A request is sent three times at most, and then the caller gets the 401."""
    steps = [request_.flow.answered(401)]
    while steps[-1] is Step.RENEW:
        provider.answers.clear()
        await request_.manager.refresh()
        steps.append(await request_.renew())
        steps.append(request_.flow.answered(401))
    assert steps == [Step.RENEW, Step.SEND, Step.RENEW, Step.SEND, Step.RETURN]


async def test_a_token_that_is_not_known_yet(request_: Request, clock: FakeClock) -> None:
    """A 401 to a new token: the same one again after a pause, once; then it is dropped."""
    token = await request_.manager.token()
    await clock.advance(0.3)
    assert request_.flow.answered(401) is Step.RENEW
    assert request_.flow.pause == pytest.approx(0.7)
    assert request_.manager.current is token
    assert await request_.renew() is Step.SEND
    assert request_.headers["Authorization"] == token.authorization
    assert request_.flow.answered(401) is Step.RENEW
    assert request_.flow.pause == 0.0
    assert request_.manager.current is None
    assert await request_.renew() is Step.SEND
    assert request_.headers["Authorization"] != token.authorization
    assert request_.flow.answered(401) is Step.RETURN


async def test_a_token_that_was_accepted_meanwhile(request_: Request) -> None:
    """A 401 for what was sent before the API accepted the token costs no token: the same one again, at once."""
    token = await request_.manager.token()
    request_.manager.accepted(token)
    assert request_.flow.answered(401) is Step.RENEW
    assert request_.flow.pause == 0.0
    assert await request_.renew() is Step.SEND
    assert request_.flow.answered(401) is Step.RENEW  # now it is the token's fault
    assert request_.manager.current is None


async def test_a_body_that_is_gone_and_a_token_that_was_accepted_meanwhile(request_: Request) -> None:
    """The caller gets the 401, and the token stays: others were served with it since."""
    token = await request_.manager.token()
    request_.manager.accepted(token)
    request_.repeatable = False
    assert request_.flow.answered(401) is Step.RETURN
    assert request_.manager.current == token


async def test_the_predecessor_takes_the_place_of_an_unknown_token(request_: Request) -> None:
    """A 401 to a new token, and the request is sent again with the one before it; both 401: it is the caller's."""
    manager = request_.manager
    old = await manager.token()
    new = await manager.refresh()
    await request_.begin()
    assert request_.headers["Authorization"] == new.authorization
    assert request_.flow.answered(401) is Step.RENEW
    assert request_.flow.pause == 0.0
    assert await request_.renew() is Step.SEND
    assert request_.headers["Authorization"] == old.authorization
    assert manager.current == old
    assert request_.flow.answered(401) is Step.RENEW
    assert await request_.renew() is Step.RETURN
    assert manager.current == old
    assert manager.status().cooling_down
    assert manager.status().rejections == 0


async def test_the_same_token_is_sent_again_only_once(request_: Request) -> None:
    """A second time it would get the same 401."""
    request_.manager.accepted(await request_.manager.token())
    assert request_.flow.answered(401) is Step.RENEW
    assert await request_.renew() is Step.SEND
    assert await request_.renew() is Step.RETURN


@pytest.mark.parametrize(
    ("challenges", "refused", "cooldown"),
    [
        ([], None, 5.0),
        (['Bearer error="invalid_token"'], None, 5.0),
        (['Basic realm="x"'], None, 10.0),
        (['Basic realm="x"'], True, 5.0),
    ],
)
async def test_only_a_foreign_challenge_makes_cool_downs_longer_than_their_limit(
    make: Make, clock: FakeClock, *, challenges: list[str], refused: bool | None, cooldown: float
) -> None:
    """A 401 of another scheme may be about something else; where the API says that it is the token, it is not."""
    manager = make(FakeProvider(clock=clock), refusal_cooldown_limit=5.0)
    for _ in range(2):
        request = await Request(manager).begin_known()
        while request.flow.answered(401, challenges=challenges, refused=refused) is Step.RENEW:
            await clock.advance(request.flow.pause)
            assert await request.renew() is Step.SEND
        await clock.advance(6)
    assert engine_of(manager).state.failures.api_401s.cooldown == cooldown


async def test_a_dpop_header_of_the_callers_stays(request_: Request) -> None:
    """Only a proof that the flow added is taken off, once or twice."""
    request_.headers["DPoP"] = "the caller's"
    request_.flow.strip(request_.headers)
    assert request_.headers["DPoP"] == "the caller's"


async def test_a_token_with_its_proof_is_taken_off_twice(make: Make) -> None:
    """As any other: an error may be handled in two places."""
    request = await Request(make(Bound())).begin()
    request.flow.strip(request.headers)
    request.flow.strip(request.headers)
    assert request.headers == {"Accept": "*/*"}


@pytest.mark.parametrize("place", ["header:Authorization", "header:X-Api-Token", "cookie:session"])
async def test_its_cookie(make: Make, place: str) -> None:
    """The token where it is carried as a cookie, and nothing elsewhere."""

    class Placed(FakeProvider):
        carried_as = place

    request = await Request(make(Placed())).begin()
    token = await request.token()
    assert request.flow.cookie == (token.authorization if place == "cookie:session" else "")


async def test_a_nonce_for_the_proof(make: Make) -> None:
    """A server that asks for its nonce gets the request once more with the same token and another proof."""
    request = await Request(make(Bound())).begin()
    proof = request.headers["DPoP"]
    wants = ['DPoP error="use_dpop_nonce"']
    assert request.flow.answered(401, challenges=wants, dpop_nonce="n-1") is Step.SEND
    request.flow.strip(request.headers)
    assert "DPoP" not in request.headers
    request.flow.authorize(request.headers)
    assert request.headers["DPoP"] != proof
    # Not for ever, whatever nonces it gives; and its wish for a nonce says nothing against the token.
    assert request.flow.answered(401, challenges=wants, dpop_nonce="n-2") is Step.RETURN
    assert request.manager.current is not None


async def test_each_token_may_have_its_nonce(make: Make) -> None:
    """After a renewal the request is sent once more for a nonce again, with the new token."""
    request = await Request(make(Bound())).begin()
    wants = ['DPoP error="use_dpop_nonce"']
    assert request.flow.answered(401, challenges=wants, dpop_nonce="n-1") is Step.SEND
    request.flow.authorize(request.headers)
    assert request.flow.answered(401) is Step.RENEW
    assert await request.renew() is Step.SEND
    assert request.flow.answered(401, challenges=wants, dpop_nonce="n-2") is Step.SEND


@pytest.mark.parametrize(("repeated", "cooldown"), [(False, 10.0), (True, 5.0)])
async def test_only_a_repeat_that_succeeds_ends_the_cool_downs(
    request_: Request, clock: FakeClock, *, repeated: bool, cooldown: float
) -> None:
    """A request that succeeds at once says nothing of what a new token is worth."""
    manager = request_.manager
    manager.invalidate(await manager.token())
    manager.invalidate(await manager.token())  # a replacement: a cool-down of 5 s begins
    await clock.advance(6)
    request = await Request(manager).begin()
    if repeated:
        assert request.flow.answered(401) is Step.RENEW
        assert await request.renew() is Step.SEND
    assert request.flow.answered(200) is Step.RETURN
    await manager.refresh()
    manager.invalidate(await manager.token())
    manager.invalidate(await manager.token())
    assert engine_of(manager).state.failures.api_401s.cooldown == cooldown


async def test_its_repr(request_: Request) -> None:
    """It shows where the request goes, and neither the token nor the query, which may hold a key."""
    shown = repr(request_.flow)
    assert "GET https://api.example.com/things " in shown
    assert "value" not in shown


def test_whose_token_goes_where(make: Make) -> None:
    """Each origin has its manager, whatever the path; any other URL has none."""
    one = make(FakeProvider(origins=("https://one.example",)))
    two = make(FakeProvider(origins=("https://two.example",)))
    served = ServedOrigins((one, two))
    assert served.first == (("https", "one.example"), engine_of(one))
    assert served.engine_for(URL("https://two.example/things")) is engine_of(two)
    assert served.engine_for(URL("wss://one.example:443")) is engine_of(one)
    assert served.engine_for(URL("https://one.example:8443")) is None
