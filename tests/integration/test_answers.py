"""What token endpoints answer, over real sockets: each kind, for a grant and for a declared provider alike."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest
import pytest_asyncio
from aiohttp import web
from loopback import Api, nothing_left

from asyncauth import (
    AnswerFields,
    AuthError,
    ClientCredentials,
    CredentialsRejected,
    DeclaredProvider,
    ErrorFields,
    InvalidTokenResponse,
    Provider,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Maker = Callable[[str, AnswerFields | None, ErrorFields | None], Provider]

SECRET = "wr0ng-credential-zz"


def grant(url: str, answer: AnswerFields | None, errors: ErrorFields | None) -> Provider:
    return ClientCredentials(
        token_url=f"{url}/token", client_id="app", client_secret=SECRET, answer=answer, errors=errors
    )


def declared(url: str, answer: AnswerFields | None, errors: ErrorFields | None) -> Provider:
    return DeclaredProvider(
        name="acme",
        url=f"{url}/token",
        credential={"key": SECRET},
        sent_as="form",
        answer=answer,
        errors=errors,
    )


@attrs.define
class Endpoint:
    """A token endpoint that answers as it is told, and counts."""

    api: Api
    answer: dict[str, Any] = attrs.field(factory=dict[str, Any])
    asked: int = 0

    def says(
        self, body: object = None, status: int = 200, content_type: str = "application/json", **headers: str
    ) -> None:
        """Answer so from now on: with JSON, or with bytes as they are."""
        self.answer = {
            "status": status,
            "body": body if isinstance(body, bytes) else json.dumps(body).encode(),
            "headers": {"Content-Type": content_type, **{n.replace("_", "-"): text for n, text in headers.items()}},
        }

    async def route(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(**self.answer)


@pytest_asyncio.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with nothing_left():
        api = Api()
        api.good = None
        made = Endpoint(api)
        api.routes["/token"] = made.route
        async with api.serve():
            yield made


async def fetched(provider: Provider) -> Token:
    async with aiohttp.ClientSession() as http:
        return await provider.fetch(http, None)


async def failed(provider: Provider) -> AuthError:
    with pytest.raises(AuthError) as caught:
        await fetched(provider)
    return caught.value


both = pytest.mark.parametrize("make", [grant, declared])
"""What is declared means the same for both."""


@both
@pytest.mark.parametrize(
    ("body", "status", "content_type", "words"),
    [
        ({"detail": "No active account"}, 401, "application/json", "No active account"),
        ({"Errors": [{"Code": "unauthorized", "Message": "Verify the key"}]}, 400, "application/json", "Verify"),
        ({"error": {"message": {"value": "Fail to get credentials"}}}, 401, "application/json", "Fail to get"),
        (b"Invalid credentials", 401, "text/plain", "Invalid credentials"),
        ("Ung\u00fcltig".encode("latin-1"), 401, "text/plain; charset=iso-8859-1", "Ung\u00fcltig"),
        (b"<e><Body><Fault><faultstring>No way</faultstring></Fault></Body></e>", 403, "text/xml", "No way"),
        (b"error=no&error_description=Who%20are%20you", 401, "application/x-www-form-urlencoded", "Who are you"),
    ],
)  # fmt: skip
async def test_the_servers_own_words_are_shown(
    endpoint: Endpoint, make: Maker, *, body: object, status: int, content_type: str, words: str
) -> None:
    """Whatever the fields, the form and the charset in which a server says no."""
    endpoint.says(body, status, content_type)
    error = await failed(make(endpoint.api.url, None, None))
    assert type(error) is CredentialsRejected
    assert words in str(error)


@both
async def test_no_answer_shows_what_was_sent(endpoint: Endpoint, make: Maker) -> None:
    """A server that repeats the secret, in whatever form, puts it into no error."""
    for body in (SECRET.encode(), {"errors": [{"Message": SECRET}]}, f"<a><message>{SECRET}</message></a>".encode()):
        endpoint.says(body, 401)
        assert SECRET not in str(await failed(make(endpoint.api.url, None, None)))


@both
@pytest.mark.parametrize(
    ("errors", "body", "status", "headers", "seconds"),
    [
        (None, {}, 400, {"Retry_After": "7"}, 7.0),
        (None, {"error": "slow_down"}, 400, {}, None),
        (None, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 2500}, 429, {}, 2.5),
        (None, {}, 429, {"x_ratelimit_reset": "9", "x_ratelimit_remaining": "0"}, 9.0),
        (None, {"message": "No"}, 403, {"X_RateLimit_Reset": "9", "X_RateLimit_Remaining": "0"}, 9.0),
        (ErrorFields(busy={"status": 601}, retry_after=20), {"status": 601}, 200, {}, 20.0),
        (ErrorFields(busy="*QpsLimit*"), {"code": "Forbidden.AccessDenied.QpsLimitForApi"}, 403, {}, None),
        (ErrorFields(busy={"error.message": "TOO_*"}), {"error": {"message": "TOO_MANY : wait"}}, 400, {}, None),
        (ErrorFields(busy="*already*"), b"<F><faultcode>ns1:coe.alreadyAuthenticated</faultcode></F>", 500, {}, None),
    ],
)  # fmt: skip
async def test_a_rate_limit_is_no_rejection(
    endpoint: Endpoint,
    make: Maker,
    *,
    errors: ErrorFields | None,
    body: object,
    status: int,
    headers: dict[str, str],
    seconds: float | None,
) -> None:
    """However a server says "not now", and wherever it says when."""
    endpoint.says(body, status, **headers)
    error = await failed(make(endpoint.api.url, None, errors))
    assert (type(error), error.retry_after) == (TokenEndpointUnavailable, seconds)


@both
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("code", ["server_error", "temporarily_unavailable", "rate_limit_exceeded"])
async def test_no_code_makes_an_outage_of_a_rejection(endpoint: Endpoint, make: Maker, status: int, code: str) -> None:
    """With a 401 or 403, some servers send the wrong code for a wrong password."""
    endpoint.says({"error": code}, status)
    assert type(await failed(make(endpoint.api.url, None, None))) is CredentialsRejected


@both
async def test_an_error_inside_a_success_is_declared(endpoint: Endpoint, make: Maker) -> None:
    """Then it is a rejection, and the wrong credential goes out once, however often it is asked for."""
    endpoint.says({"code": 10014, "msg": "app secret invalid"})
    errors = ErrorFields(succeeded={"code": 0}, busy={"code": 99991400})
    async with TokenManager(make(endpoint.api.url, None, errors)) as manager:
        for _ in range(20):
            with pytest.raises(CredentialsRejected, match="app secret invalid"):
                await manager.token()
    assert endpoint.asked == 1


@both
async def test_a_success_without_a_token_shows_the_servers_words(endpoint: Endpoint, make: Maker) -> None:
    """Without a declaration nobody knows what it means."""
    endpoint.says({"code": 10014, "msg": "app secret invalid"})
    error = await failed(make(endpoint.api.url, None, None))
    assert type(error) is InvalidTokenResponse
    assert "access_token" in error.message
    assert error.error_description == "app secret invalid"


@both
@pytest.mark.parametrize(
    ("answer", "body", "content_type", "headers", "lifetime"),
    [
        (AnswerFields(token="$"), b"to-ken\n", "text/plain", {}, None),
        (AnswerFields(token="$"), b'"to-ken"', "application/json", {}, None),
        (AnswerFields(token="header:Token"), b"", "text/plain", {"token": "to-ken"}, None),
        (AnswerFields(token="a.access_token"), {"a": {"access_token": "to-ken", "expires_in": 60}}, "a/b", {}, 60.0),
        (AnswerFields(), b"access_token=to-ken&expires_in=60", "application/x-www-form-urlencoded", {}, 60.0),
        (AnswerFields(token="r.c.token", lifetime="left", unit="hh:mm:ss"),
         b'<r xmlns="http://a"><c token="to-ken" left="0:01:00"/></r>', "application/xml", {}, 60.0),
        (AnswerFields(), '{"access_token": "to-ken", "expires_in": 60, "name": "\u00fc"}'.encode("latin-1"),
         "application/json;charset=ISO-8859-1", {}, 60.0),
        (AnswerFields(lifetime="timeout", unit="minutes"), {"access_token": "to-ken", "timeout": 1}, "a/b", {}, 60.0),
        (AnswerFields(default_lifetime=60), {"access_token": "to-ken"}, "a/b", {}, 60.0),
        (AnswerFields(never=0), {"access_token": "to-ken", "expires_in": 0}, "a/b", {}, None),
        (None, {"access_token": "to-ken", "expires_in": 60, "refresh_token": ""}, "a/b", {}, 60.0),
        (None, {"access_token": "to-ken", "expires_in": 60, "refresh_token": [1], "scope": 7}, "a/b", {}, 60.0),
    ],
)  # fmt: skip
async def test_an_answer_is_read_whatever_its_shape(
    endpoint: Endpoint,
    make: Maker,
    *,
    answer: AnswerFields | None,
    body: object,
    content_type: str,
    headers: dict[str, str],
    lifetime: float | None,
) -> None:
    """Text, header, nested, form, XML, another charset; minutes, defaults, never; optional fields that are none."""
    endpoint.says(body, 200, content_type, **headers)
    token = await fetched(make(endpoint.api.url, answer, None))
    assert (token.value, token.lifetime) == ("to-ken", lifetime)


@both
@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE a [<!ENTITY a "x"><!ENTITY b "&a;&a;&a;">]><access_token>&b;</access_token>',
        b"<access_token>" * 1000,
        b"<html><body>Welcome</body></html>",
        b"access_token=" + b"x" * 100_000,
        b'{"access_token": "to-ken", "expires_in": 1893456000}',
    ],
)
async def test_what_is_no_answer_is_unreadable(endpoint: Endpoint, make: Maker, body: bytes) -> None:
    """Entities, endless nesting, a page, a form of 100 KB, a lifetime that is a Unix time."""
    endpoint.says(body, 200, "text/xml")
    assert type(await failed(make(endpoint.api.url, None, None))) is InvalidTokenResponse
