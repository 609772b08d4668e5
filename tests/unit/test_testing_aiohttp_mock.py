"""mock_aiohttp: aioresponses under which middlewares run, with every aiohttp."""

from __future__ import annotations

import asyncio
import io
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from aioresponses import CallbackResult
from yarl import URL

from asyncauth import BearerAuth, Peakly, RefreshPolicy, TokenManager, client_session, wrap_session
from asyncauth.sandbox import sandbox_in_thread
from asyncauth.testing import FakeProvider, mock_aiohttp, static_manager

API = "https://api.example.com"
ME = f"{API}/me"


@pytest.fixture
def mock() -> Iterator[mock_aiohttp]:
    with mock_aiohttp() as mock:
        yield mock


@pytest.fixture
def provider() -> FakeProvider:
    return FakeProvider()


@pytest.fixture
async def http(provider: FakeProvider) -> AsyncIterator[aiohttp.ClientSession]:
    """A session whose requests are authorized."""
    async with client_session(provider) as http:
        yield http


def sent(mock: mock_aiohttp, method: str = "GET", url: str = ME) -> list[Any]:
    """Return the keyword arguments of the requests to a URL."""
    return [call.kwargs for call in mock.requests.get((method, URL(url)), [])]


def tokens(mock: mock_aiohttp, method: str = "GET", url: str = ME) -> list[str | None]:
    """Return the ``Authorization`` of the requests to a URL."""
    return [call.get("headers", {}).get("Authorization") for call in sent(mock, method, url)]


async def accepted(mock: mock_aiohttp, http: aiohttp.ClientSession) -> None:
    """Let the API accept the token: a new one would be sent once more after a 401."""
    mock.get(ME)
    async with http.get(ME):
        pass


# Middlewares


async def test_a_middlewares_own_trouble_is_what_the_caller_gets(mock: mock_aiohttp) -> None:
    """A connection error that no answer of the mock's raised comes through as it is."""
    own = aiohttp.ClientOSError(104, "of the middleware's")

    async def breaks(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        raise own

    mock.get(ME)
    async with aiohttp.ClientSession(middlewares=(breaks,)) as http:
        with pytest.raises(aiohttp.ClientOSError) as caught:
            await http.get(ME)
    assert caught.value is own


async def test_the_recorded_request_has_the_token(mock: mock_aiohttp, http: aiohttp.ClientSession) -> None:
    """BearerAuth runs, and what it sets is in the recorded headers."""
    mock.get(ME, payload={"name": "Ada"})
    async with http.get(ME) as response:
        assert (response.status, response.reason, await response.json()) == (200, "OK", {"name": "Ada"})
    mock.assert_called_once_with(ME, headers={"Authorization": "Bearer token-1"})


async def test_the_token_does_not_stay_in_the_response(mock: mock_aiohttp, http: aiohttp.ClientSession) -> None:
    """As with a real response: ``request_info``, which error reports print, has no token."""
    mock.get(ME, status=500)
    async with http.get(ME) as response:
        assert "Authorization" not in response.request_info.headers
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            response.raise_for_status()
    assert "token-1" not in repr(caught.value)
    assert tokens(mock) == ["Bearer token-1"]


async def test_a_refused_token_is_replaced_and_the_request_sent_again(
    mock: mock_aiohttp, http: aiohttp.ClientSession
) -> None:
    """401, then 200: the caller sees the 200, the mock both requests with their tokens."""
    await accepted(mock, http)
    mock.post(ME, status=401)
    mock.post(ME, status=201, payload={"id": 7})
    async with http.post(ME, json={"name": "Ada"}) as response:
        assert (response.status, await response.json()) == (201, {"id": 7})
    assert tokens(mock, "POST") == ["Bearer token-1", "Bearer token-2"]
    assert [call["json"] for call in sent(mock, "POST")] == [{"name": "Ada"}] * 2


async def test_a_body_that_is_gone_is_not_sent_again(mock: mock_aiohttp, http: aiohttp.ClientSession) -> None:
    """A generator's body goes once, as with a real server; it is recorded as what was sent."""

    async def body() -> AsyncGenerator[bytes]:
        yield b"one "
        yield b"two"

    mock.put(ME, status=401)
    async with http.put(ME, data=body()) as response:
        assert response.status == 401
    assert [call["data"] for call in sent(mock, "PUT")] == [b"one two"]


async def test_a_file_is_read_as_if_it_were_sent(mock: mock_aiohttp, http: aiohttp.ClientSession) -> None:
    """A seekable file can be sent again after a refusal."""
    await accepted(mock, http)
    mock.post(ME, status=401)
    mock.post(ME, status=204)
    async with http.post(ME, data=io.BytesIO(b"file")) as response:
        assert response.status == 204
    assert tokens(mock, "POST") == ["Bearer token-1", "Bearer token-2"]


async def test_all_middlewares_run_in_their_order(mock: mock_aiohttp, provider: FakeProvider) -> None:
    """Those of the session, outermost first; a request's own stand in for them."""

    def tagging(tag: str) -> Any:
        async def middleware(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
            request.headers.add("X-Tag", tag)
            response: aiohttp.ClientResponse = await handler(request)
            return response

        return middleware

    mock.get(ME, repeat=True)
    async with client_session(provider, middlewares=(tagging("a"), tagging("b"))) as http:
        await http.get(ME)
        await http.get(ME, middlewares=(tagging("own"),))
        await http.get(ME, middlewares=())
    assert [call.get("headers", {}).get("X-Tag") for call in sent(mock)] == ["a", "own", None]
    assert sent(mock)[0]["headers"].getall("X-Tag") == ["a", "b"]
    assert tokens(mock) == ["Bearer token-1", None, None]


async def test_a_middleware_of_the_request_is_run(mock: mock_aiohttp, provider: FakeProvider) -> None:
    """``session.get(…, middlewares=(BearerAuth(manager),))``; it is in the record as it was given."""
    mock.get(ME)
    async with aiohttp.ClientSession() as http, TokenManager(provider) as manager:
        auth = BearerAuth(manager)
        await http.get(ME, middlewares=(auth,))
    assert tokens(mock) == ["Bearer token-1"]
    assert sent(mock)[0]["middlewares"] == (auth,)


async def test_a_wrapped_session_is_authorized(mock: mock_aiohttp, provider: FakeProvider) -> None:
    """``wrap_session`` works as on a real session."""
    mock.get(ME)
    async with (
        aiohttp.ClientSession(API) as http,
        TokenManager(provider) as manager,
        wrap_session(http, manager) as wrapped,
    ):
        await wrapped.get("/me")
    assert tokens(mock) == ["Bearer token-1"]


async def test_aiohttp_request_is_answered(mock: mock_aiohttp) -> None:
    """``aiohttp.request`` too."""
    mock.get(ME, body="plain", content_type="text/plain")
    async with aiohttp.request("GET", ME) as response:
        assert await response.text() == "plain"


# Redirects, cookies, timeouts: aiohttp's own


async def test_each_hop_of_a_redirect_is_a_request(mock: mock_aiohttp, http: aiohttp.ClientSession) -> None:
    """No token goes to another origin, and the method is kept or changed as aiohttp does."""
    other = "https://other.example.com/there"
    mock.post(ME, status=307, headers={"Location": "/moved?b=2&a=1"})
    mock.post(f"{API}/moved?a=1&b=2", status=303, headers={"Location": other})
    mock.get(other, payload=[])
    async with http.post(ME, json={"x": 1}) as response:
        assert (response.status, response.url, len(response.history)) == (200, URL(other), 2)
    assert tokens(mock, "POST") == tokens(mock, "POST", f"{API}/moved?a=1&b=2") == ["Bearer token-1"]
    (last,) = sent(mock, "GET", other)
    assert (tokens(mock, "GET", other), "json" in last) == ([None], False)


async def test_redirects_can_be_left_to_the_caller(mock: mock_aiohttp, http: aiohttp.ClientSession) -> None:
    """``allow_redirects=False`` gives the redirect itself; too many raise what aiohttp raises."""
    mock.get(ME, status=302, headers={"Location": ME}, repeat=True)
    async with http.get(ME, allow_redirects=False) as response:
        assert response.status == 302
    assert sent(mock)[0]["allow_redirects"] is False
    with pytest.raises(aiohttp.TooManyRedirects):
        await http.get(ME, max_redirects=3)
    assert len(sent(mock)) == 4


async def test_a_redirect_does_not_repeat_the_params(mock: mock_aiohttp, http: aiohttp.ClientSession) -> None:
    """The query is matched in any order, and a redirect's URL has its own."""
    mock.get(f"{ME}?a=1&b=2", status=302, headers={"Location": ME})
    mock.get(ME)
    async with http.get(ME, params={"b": "2", "a": "1"}) as response:
        assert response.url == URL(ME)
    mock.assert_any_call(ME, params={"b": "2", "a": "1"})
    assert "params" not in sent(mock)[0]


async def test_cookies_are_kept(mock: mock_aiohttp, http: aiohttp.ClientSession) -> None:
    """A response's cookies are in it and in the session's jar, as from a server."""
    mock.get(ME, headers={"Set-Cookie": "sid=1; Path=/"})
    async with http.get(ME) as response:
        assert response.cookies["sid"].value == "1"
    assert [cookie.value for cookie in http.cookie_jar] == ["1"]


async def test_raise_for_status_is_heeded(mock: mock_aiohttp, http: aiohttp.ClientSession) -> None:
    """As the call or the session says."""
    mock.get(ME, status=404)
    with pytest.raises(aiohttp.ClientResponseError, match="404"):
        await http.get(ME, raise_for_status=True)


async def test_the_timeout_covers_the_middlewares(mock: mock_aiohttp) -> None:
    """A token that takes too long ends the request, which is not sent."""
    slow = TokenManager(FakeProvider(latency=30), policy=RefreshPolicy(close_grace=0.0))
    async with slow, client_session(slow) as http:
        with pytest.raises(TimeoutError):
            await http.get(ME, timeout=aiohttp.ClientTimeout(total=0.01))
    mock.assert_not_called()


# What can be answered


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientOSError(104, "reset"),
        aiohttp.ClientPayloadError("cut short"),
        TimeoutError(),
        ValueError,
    ],
    ids=repr,
)
async def test_an_exception_reaches_the_caller(error: Any, mock: mock_aiohttp, http: aiohttp.ClientSession) -> None:
    """That very one, after one request."""
    mock.get(ME, exception=error)
    with pytest.raises(error if isinstance(error, type) else type(error)) as caught:
        await http.get(ME)
    assert caught.value is error or isinstance(error, type)
    assert len(sent(mock)) == 1


async def test_a_middleware_can_try_again_after_an_exception(mock: mock_aiohttp) -> None:
    """Middlewares see the exception itself."""

    async def persistent(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        try:
            response: aiohttp.ClientResponse = await handler(request)
        except aiohttp.ServerDisconnectedError:
            response = await handler(request)
        return response

    mock.get(ME, exception=aiohttp.ServerDisconnectedError())
    mock.get(ME, status=204)
    async with aiohttp.ClientSession(middlewares=(persistent,)) as http, http.get(ME) as response:
        assert response.status == 204


async def test_a_mocked_timeout_is_a_timeout(mock: mock_aiohttp, http: aiohttp.ClientSession) -> None:
    """``timeout=True`` as in aioresponses."""
    mock.get(ME, timeout=True)
    with pytest.raises(TimeoutError):
        await http.get(ME)


async def test_what_has_no_answer_is_refused(mock: mock_aiohttp, http: aiohttp.ClientSession) -> None:
    """As if nobody listened; the request is recorded."""
    with pytest.raises(aiohttp.ClientConnectionError, match=r"GET https://api\.example\.com/me"):
        await http.get(ME)
    assert tokens(mock) == ["Bearer token-1"]


async def test_answers_are_given_in_their_order_and_as_often_as_said(
    mock: mock_aiohttp, http: aiohttp.ClientSession
) -> None:
    """Once, a number of times, or for ever; by URL or pattern, for the method alone."""
    mock.get(ME, status=201)
    mock.get(re.compile(r".*/me$"), status=202, repeat=2)
    mock.get(URL(ME), status=203, repeat=True)
    mock.delete(ME, status=204)
    statuses = [(await http.get(ME)).status for _ in range(5)]
    assert statuses == [201, 202, 202, 203, 203]
    assert (await http.delete(ME)).status == 204


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "head", "options"])
async def test_each_method_has_its_own_answers(method: str, mock: mock_aiohttp, http: aiohttp.ClientSession) -> None:
    """``mock.get``, ``mock.post`` and so on; the response says the method."""
    getattr(mock, method)(ME, status=299)
    async with http.request(method, ME) as response:
        assert (response.status, response.method) == (299, method.upper())


async def test_a_callback_sees_the_request_and_may_answer(mock: mock_aiohttp, http: aiohttp.ClientSession) -> None:
    """A function or an async one: it gets the URL and the call, with the token; what it returns is the answer."""
    seen = []

    def refuse(url: URL, **call: Any) -> CallbackResult:
        seen.append((url, call["headers"]["Authorization"], call["json"]))
        return CallbackResult(status=401)

    async def accept(url: URL, **call: Any) -> CallbackResult:
        seen.append((url, call["headers"]["Authorization"], call["json"]))
        return CallbackResult(status=200, payload={"ok": True}, headers={"X-Is": "here"})

    await accepted(mock, http)
    mock.post(ME, callback=refuse)
    mock.post(ME, callback=accept)
    async with http.post(ME, json=[1]) as response:
        assert (await response.json(), response.headers["X-Is"]) == ({"ok": True}, "here")
    assert seen == [(URL(ME), "Bearer token-1", [1]), (URL(ME), "Bearer token-2", [1])]


async def test_a_callback_may_only_look(mock: mock_aiohttp, http: aiohttp.ClientSession) -> None:
    """One that returns nothing leaves the answer as it was given."""
    mock.get(ME, status=206, callback=lambda url, **call: None)
    assert (await http.get(ME)).status == 206


async def test_a_response_class_is_used(mock: mock_aiohttp) -> None:
    """The answer's, or else the session's."""

    class Mine(aiohttp.ClientResponse):
        pass

    class Yours(aiohttp.ClientResponse):
        pass

    mock.get(ME)
    mock.get(ME, response_class=Yours)
    async with aiohttp.ClientSession(response_class=Mine) as http:
        assert [type(await http.get(ME)) for _ in range(2)] == [Mine, Yours]


async def test_a_response_is_read_and_released_like_any(mock: mock_aiohttp, http: aiohttp.ClientSession) -> None:
    """Whole, by chunks, as text in its charset; released, closed, or left alone."""
    mock.get(ME, body="añ".encode("latin-1"), content_type="text/plain; charset=latin-1", repeat=True)
    async with http.get(ME) as response:
        assert await response.text() == "añ"
    async with http.get(ME) as response:
        assert [chunk async for chunk in response.content.iter_chunked(1)] == [b"a", b"\xf1"]
    response = await http.get(ME)
    response.release()
    assert response.closed
    with pytest.raises(aiohttp.ClientConnectionError):
        await response.read()
    (await http.get(ME)).close()
    await http.get(ME)


@pytest.mark.parametrize("size", [2**17 - 1, 2**17, 2**17 + 1, 2**22])
async def test_a_body_may_be_large(mock: mock_aiohttp, http: aiohttp.ClientSession, size: int) -> None:
    """As bytes, text or JSON, read at once or by pieces; no connection's limit stops what comes from memory."""
    mock.get(ME, body=b"x" * size, repeat=3)
    assert await (await http.get(ME)).read() == b"x" * size
    async with http.get(ME) as response:
        assert sum([len(chunk) async for chunk in response.content.iter_chunked(1000)]) == size
    (await http.get(ME)).close()
    mock.get(ME, body="ñ" * size)
    assert len(await (await http.get(ME)).text()) == size
    mock.get(ME, callback=lambda url, **call: CallbackResult(payload={"x": "x" * size}))
    assert await (await http.get(ME)).json() == {"x": "x" * size}


# The caller's headers


async def test_recorded_headers_are_those_that_somebody_set(mock: mock_aiohttp, provider: FakeProvider) -> None:
    """The session's, the call's and the middlewares', none that aiohttp adds; without any, there is no ``headers``."""
    mock.get(ME, repeat=True)
    async with client_session(provider, headers={"User-Agent": "me", "X-One": "session"}) as http:
        await http.get(ME, headers={"x-one": "call", "Accept": "*/*"})
    expected = {"User-Agent": "me", "x-one": "call", "Accept": "*/*", "Authorization": "Bearer token-1"}
    assert sent(mock)[0]["headers"] == expected
    async with aiohttp.ClientSession() as plain:
        await plain.get(ME)
    assert sent(mock)[1] == {"allow_redirects": True}


async def test_an_authorization_of_the_callers_own_stays(mock: mock_aiohttp, http: aiohttp.ClientSession) -> None:
    """BearerAuth leaves it, and so does the record."""
    mock.get(ME)
    await http.get(ME, headers={"Authorization": "Basic mine"})
    assert tokens(mock) == ["Basic mine"]


# Ways to use it


async def test_urls_pass_through(http: aiohttp.ClientSession) -> None:
    """To a real server, by their beginning or because nothing answers them; middlewares run all the same."""
    with sandbox_in_thread() as sandbox:
        peakly = Peakly(username=sandbox.username, password=sandbox.password, base_url=sandbox.peakly.url)
        for options in ({"passthrough": [sandbox.peakly.url]}, {"passthrough_unmatched": True}):
            with mock_aiohttp(**options) as mock:
                mock.get(ME)
                async with client_session(peakly) as real, real.get(f"{sandbox.peakly.url}/api/check") as response:
                    assert response.status == 200
                assert (await http.get(ME)).status == 200
        assert (sandbox.peakly.counts.token_requests, sandbox.peakly.counts.api_ok) == (2, 2)


async def test_a_closed_session_says_so(mock: mock_aiohttp, provider: FakeProvider) -> None:
    """As aiohttp does."""
    http = client_session(provider)
    await http.close()
    with pytest.raises(RuntimeError, match="closed"):
        await http.get(ME)


async def test_it_is_a_decorator() -> None:
    """As aioresponses is, for async functions and plain ones; the mock comes last, or as ``param``."""

    @mock_aiohttp()
    async def last(name: str, mock: mock_aiohttp) -> str:
        mock.get(ME, body=name)
        async with aiohttp.request("GET", ME) as response:
            return await response.text()

    @mock_aiohttp(param="mock")
    def named(mock: mock_aiohttp) -> object:
        return mock.requests

    assert await last("Ada") == "Ada"
    assert named() == {}


async def test_it_ends_with_its_block(provider: FakeProvider) -> None:
    """Afterwards sessions connect again."""
    with mock_aiohttp() as mock:
        mock.get(ME)
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get("http://127.0.0.1:1/")


async def test_one_answer_serves_one_of_two_at_once(mock: mock_aiohttp, http: aiohttp.ClientSession) -> None:
    """An answer that is good for one request is given to one, also while a callback takes its time."""

    async def slow(url: URL, **call: Any) -> None:
        await asyncio.sleep(0)

    mock.get(ME, status=201, callback=slow)
    mock.get(ME, status=202, callback=slow)
    responses = await asyncio.gather(http.get(ME), http.get(ME))
    assert sorted(response.status for response in responses) == [201, 202]


def test_without_the_extra_an_error_names_it() -> None:
    """The rest of ``asyncauth.testing`` works without aioresponses; ``mock_aiohttp`` says how to get it."""
    code = (
        "import sys; sys.modules['aioresponses'] = None\n"
        "from asyncauth.testing import FakeClock\n"
        "try:\n    from asyncauth.testing import mock_aiohttp\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "mock_aiohttp needs aioresponses: pip install 'asyncauth[testing]'\n"


def test_passthrough_is_no_single_text() -> None:
    """Each of its letters would let URLs pass, and a test would send real logins."""
    with pytest.raises(TypeError, match="several"):
        mock_aiohttp(passthrough="http://127.0.0.1")


async def test_a_token_in_the_query() -> None:
    """It is part of the URL that is answered, as on the wire, and not of the response's."""
    manager = static_manager("token-1", carried_as="query:key")
    with mock_aiohttp() as mock:
        mock.get("https://api.example.com/x?page=1&key=token-1")
        async with (
            aiohttp.ClientSession(middlewares=(BearerAuth(manager),)) as http,
            http.get("https://api.example.com/x?page=1") as response,
        ):
            assert str(response.url) == "https://api.example.com/x?page=1"


async def test_a_token_in_a_cookie() -> None:
    """`requests` has it among the headers."""
    manager = static_manager("token-1", carried_as="cookie:SESSION")
    with mock_aiohttp() as mock:
        mock.get("https://api.example.com/x")
        async with (
            aiohttp.ClientSession(middlewares=(BearerAuth(manager),)) as http,
            http.get("https://api.example.com/x", cookies={"a": "1"}) as response,
        ):
            assert response.status == 200
        ((sent,),) = mock.requests.values()
        assert sent.kwargs["headers"]["Cookie"] == "a=1; SESSION=token-1"
