"""Pago Fácil's three providers and their chain: what they send, and what they make of each answer."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from harness.canary import MARK
from provider_kit import DAY, HOUR, NOW, MockedHttp, failure, fetch, keeps_quiet, lifetime

from asyncauth import (
    ConfigurationError,
    CredentialsRejected,
    InsecureTransport,
    InvalidTokenResponse,
    PagoFacil,
    PagoFacilJWT,
    PagoFacilLogin,
    TokenManager,
)
from asyncauth.testing import FakeClock

HOST = "https://api.pgf.cl"
LOGIN, CREATE, EXCHANGE = f"{HOST}/login", f"{HOST}/tokens/createToken", f"{HOST}/loginToken"
PASSWORD = f"Contraseña-123{MARK}"
ACCESS = "the-access-token"
YEAR = 365 * DAY
FAR = NOW + 5 * YEAR


def login(**options: Any) -> PagoFacilLogin:
    return PagoFacilLogin(**{"username": "ana@example.com", "password": PASSWORD, **options})


def create(**options: Any) -> PagoFacil:
    return PagoFacil(**{"jwt": "the.jwt.here", **options})


def exchange(**options: Any) -> PagoFacilJWT:
    return PagoFacilJWT(**{"access_token": ACCESS, **options})


def jwt_answer(**changes: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "access_token_jwt": "new-jwt",
        "expires_in": 86400,
        "token_type": "Bearer",
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not ...}


def access_answer(**changes: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "User": "ana@example.com",
        "access_token": "new-access",
        "expiration_date": int(FAR),
        "token_type": "Bearer",
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not ...}


def jwt(**claims: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'HS256'})}.{part(claims)}.c2ln"


# --- The requests


async def test_login_sends_json(mocked_http: MockedHttp) -> None:
    """``login`` posts username and password as JSON, with no Authorization."""
    mocked_http.answers(LOGIN, jwt_answer())
    token = await fetch(login())
    (sent,) = mocked_http.sent
    assert sent.url == LOGIN
    assert sent.json == {"username": "ana@example.com", "password": PASSWORD}
    assert sent.headers["Cache-Control"] == "no-cache"
    assert "Authorization" not in sent.headers
    assert token.authorization == "Bearer new-jwt"


async def test_create_token_sends_the_jwt_and_no_body(mocked_http: MockedHttp) -> None:
    """``createToken`` posts the JWT as Bearer, in ``Authorization``, and nothing else."""
    mocked_http.answers(CREATE, access_answer())
    token = await fetch(create())
    (sent,) = mocked_http.sent
    assert sent.url == CREATE
    assert sent.headers["Authorization"] == "Bearer the.jwt.here"
    assert sent.headers["Cache-Control"] == "no-cache"
    assert "Authentication" not in sent.headers
    assert "Content-Type" not in sent.headers
    assert sent.body == b""
    assert token.value == "new-access"
    assert token.extra["User"] == "ana@example.com"


async def test_login_token_sends_the_access_token(mocked_http: MockedHttp) -> None:
    """``loginToken`` posts the access token as Bearer; without a lifetime there is no body."""
    mocked_http.answers(EXCHANGE, jwt_answer(expires_in=31536000))
    token = await fetch(exchange())
    (sent,) = mocked_http.sent
    assert sent.url == EXCHANGE
    assert sent.headers["Authorization"] == "Bearer the-access-token"
    assert sent.headers["Cache-Control"] == "no-cache"
    assert sent.body == b""
    assert token.value == "new-jwt"
    assert lifetime(token) == 31536000


@pytest.mark.parametrize(
    ("environment", "host"), [("production", "https://api.pgf.cl"), ("development", "https://api-dev.pgf.cl")]
)
async def test_each_environment_has_its_host(mocked_http: MockedHttp, environment: Any, host: str) -> None:
    """All three endpoints, and the origins of their tokens, follow the environment."""
    mocked_http.answers(f"{host}/login", jwt_answer())
    mocked_http.answers(f"{host}/tokens/createToken", access_answer())
    mocked_http.answers(f"{host}/loginToken", jwt_answer())
    for provider in (
        login(environment=environment),
        create(environment=environment),
        exchange(environment=environment),
    ):
        await fetch(provider)
        assert provider.origins == (host,)
    assert len(mocked_http.sent) == 3


@pytest.mark.parametrize(
    ("environment", "host"), [("production", "https://apis.pgf.cl"), ("development", "https://apis-dev.pgf.cl")]
)
async def test_the_newer_login(mocked_http: MockedHttp, environment: Any, host: str) -> None:
    """Generation 2 posts ``user`` to /users/login on hosts of its own, and unwraps ``data``."""
    mocked_http.answers(f"{host}/users/login", {"message": "ok", "error": None, "data": jwt_answer()})
    provider = login(environment=environment, generation=2)
    token = await fetch(provider)
    assert mocked_http.sent[0].json == {"user": "ana@example.com", "password": PASSWORD}
    assert token.value == "new-jwt"
    assert lifetime(token) == 86400
    assert provider.origins == (host,)


@pytest.mark.parametrize("nothing", [None, False, "", 0, [], {}])
async def test_an_error_field_that_says_nothing(mocked_http: MockedHttp, nothing: object) -> None:
    """The newer generation always has an ``error`` field; an empty one does not mean failure."""
    mocked_http.answers("https://apis.pgf.cl/users/login", {"message": "ok", "error": nothing, "data": jwt_answer()})
    assert (await fetch(login(generation=2))).value == "new-jwt"


@pytest.mark.parametrize("data", [..., None, [], "x", 7])
async def test_the_newer_login_without_data(mocked_http: MockedHttp, data: object) -> None:
    """An answer whose ``data`` is not an object is an error that says so."""
    fields = {"message": "ok", "error": None} | ({} if data is ... else {"data": data})
    mocked_http.answers("https://apis.pgf.cl/users/login", fields)
    error = await failure(login(generation=2))
    assert type(error) is InvalidTokenResponse
    assert "'data'" in error.message


@pytest.mark.parametrize("said", [True, "wrong user", {"code": 7}])
async def test_a_refusal_with_status_200(mocked_http: MockedHttp, said: object) -> None:
    """A 200 with an ``error`` that says something is a refusal."""
    fields = {"message": "No", "error": said, "data": None}
    mocked_http.answers("https://apis.pgf.cl/users/login", fields)
    error = await failure(login(generation=2))
    assert type(error) is CredentialsRejected
    assert error.status == 200
    assert error.error_description == "No"
    keeps_quiet(error, PASSWORD)


async def test_a_base_url_keeps_its_path(mocked_http: MockedHttp) -> None:
    """Every endpoint is relative to the base URL, path included, of the newer login too."""
    base = "http://localhost:8080/pgf/v1"
    urls = [f"{base}/{path}" for path in ("login", "users/login", "tokens/createToken", "loginToken")]
    mocked_http.answers(urls[0], jwt_answer())
    mocked_http.answers(urls[1], {"data": jwt_answer()})
    mocked_http.answers(urls[2], access_answer())
    mocked_http.answers(urls[3], jwt_answer())
    for provider in (
        login(base_url=base),
        login(base_url=base + "/", generation=2),
        create(base_url=base),
        exchange(base_url=base),
    ):
        await fetch(provider)
        assert provider.origins == ("http://localhost:8080",)
    assert [sent.url for sent in mocked_http.sent] == urls


@pytest.mark.parametrize(
    ("make", "options", "error", "words"),
    [
        (login, {"environment": "qa"}, ConfigurationError, "'production' or 'development'"),
        (login, {"generation": 3}, ConfigurationError, "generation"),
        (login, {"generation": "2"}, ConfigurationError, "generation"),
        (login, {"username": ""}, ConfigurationError, "username"),
        (login, {"password": None}, ConfigurationError, "password"),
        (login, {"base_url": "http://api.pgf.cl"}, InsecureTransport, "plain http"),
        (create, {"jwt": None}, ConfigurationError, "jwt"),
        (create, {"jwt": ""}, ConfigurationError, "jwt is empty"),
        (create, {"jwt": " secret-jwt"}, ConfigurationError, "strip()"),
        (create, {"jwt": "secret-jwt\n"}, ConfigurationError, "strip()"),
        (create, {"jwt": "secret jwt"}, ConfigurationError, "header"),
        (create, {"jwt": "secret-jwt-ñ"}, ConfigurationError, "header"),
        (create, {"jwt": b"secret-jwt"}, ConfigurationError, "not bytes"),
        (create, {"base_url": "http://10.0.0.1"}, InsecureTransport, "plain http"),
        (exchange, {"access_token": 7}, ConfigurationError, "not int"),
        (exchange, {"access_token": "   "}, ConfigurationError, "access_token"),
        (exchange, {"origins": "http://10.0.0.1"}, InsecureTransport, "origins"),
        *(
            (exchange, {"lifetime": bad}, ConfigurationError, "lifetime")
            for bad in (0, -1, 0.5, float("nan"), float("inf"), True, "3600", 10**400)
        ),
    ],
)
def test_arguments_that_cant_work(make: Any, options: dict[str, Any], error: type[Exception], words: str) -> None:
    """A bad argument is refused when the provider is made, by name and without its value if that is a secret."""
    with pytest.raises(error) as caught:
        make(**options)
    assert words in str(caught.value)
    keeps_quiet(caught.value, PASSWORD, "secret", "the-access-token")


# --- The lifetimes


@pytest.mark.parametrize("skew", [-2 * HOUR, 0.0, 2 * HOUR], ids=["behind", "level", "ahead"])
@pytest.mark.parametrize("unit", [1, 1000], ids=["seconds", "milliseconds"])
@pytest.mark.parametrize("kind", [int, float, str])
async def test_create_token_ends_by_the_servers_clock(
    mocked_http: MockedHttp, skew: float, unit: int, kind: Any
) -> None:
    """``expiration_date`` is an absolute epoch by the server's clock, in seconds or milliseconds."""
    mocked_http.answers(CREATE, access_answer(expiration_date=kind((FAR + skew) * unit)), date=NOW + skew)
    assert lifetime(await fetch(create())) == 5 * YEAR


async def test_create_token_through_a_cache(mocked_http: MockedHttp) -> None:
    """What the answer spent in a cache is gone from the token's life."""
    mocked_http.answers(CREATE, access_answer(), headers={"Age": "3600"})
    assert lifetime(await fetch(create())) == 5 * YEAR - HOUR


async def test_create_token_without_a_date(mocked_http: MockedHttp) -> None:
    """Only without a Date is ``expiration_date`` reckoned from our own wall clock."""
    mocked_http.answers(CREATE, access_answer(), date=None)
    assert lifetime(await fetch(create(), clock=FakeClock(wall=NOW - HOUR))) == 5 * YEAR + HOUR


async def test_create_token_without_an_end(mocked_http: MockedHttp) -> None:
    """Without ``expiration_date`` the lifetime is unknown."""
    mocked_http.answers(CREATE, access_answer(expiration_date=...))
    assert (await fetch(create())).expires_at is None


@pytest.mark.parametrize(
    "bad",
    [None, "abc", "", [], True, 0, -1, NOW, NOW - 1, (NOW - 1) * 1000, "0", 10**15, "28 Nov 2023"],
)
async def test_an_expiration_date_that_cant_be_used(mocked_http: MockedHttp, bad: object) -> None:
    """One that can't be read, or has passed, is an error: neither a token nor "never expires"."""
    mocked_http.answers(CREATE, access_answer(expiration_date=bad))
    error = await failure(create())
    assert type(error) is InvalidTokenResponse
    assert (error.provider, error.step, error.endpoint) == ("pago-facil", "createToken", CREATE)
    assert "expiration_date" in error.message or "expired on arrival" in error.message
    keeps_quiet(error, "the.jwt.here", "new-access")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400", "-1e400", "9" * 400])
@pytest.mark.parametrize(
    ("provider", "url", "field", "token"),
    [
        (login, LOGIN, "expires_in", "access_token_jwt"),
        (create, CREATE, "expiration_date", "access_token"),
        (exchange, EXCHANGE, "expires_in", "access_token_jwt"),
    ],
    ids=["login", "createToken", "loginToken"],
)
async def test_numbers_beyond_json(
    *, mocked_http: MockedHttp, provider: Any, url: str, field: str, token: str, number: str
) -> None:
    """Numbers that JSON parsers let through and no clock can hold are an error that names the field."""
    mocked_http.answers(url, body=f'{{"{token}": "new-token", "{field}": {number}}}'.encode())
    error = await failure(provider())
    assert type(error) is InvalidTokenResponse
    assert field in error.message
    keeps_quiet(error, PASSWORD, "new-token")


@pytest.mark.parametrize(("provider", "url"), [(login, LOGIN), (exchange, EXCHANGE)], ids=["login", "loginToken"])
class TestJWTSteps:
    """``login`` and ``loginToken`` give the same three fields."""

    @pytest.mark.parametrize("skew", [-2 * HOUR, 0.0, 2 * HOUR], ids=["behind", "level", "ahead"])
    @pytest.mark.parametrize("value", [86400, 86400.0, "86400"])
    async def test_seconds(self, mocked_http: MockedHttp, provider: Any, url: str, skew: float, value: object) -> None:
        """``expires_in`` is seconds; nobody's clock has a part in it."""
        mocked_http.answers(url, jwt_answer(expires_in=value), date=NOW + skew)
        assert lifetime(await fetch(provider())) == 86400

    async def test_no_date(self, mocked_http: MockedHttp, provider: Any, url: str) -> None:
        """``expires_in`` needs no Date."""
        mocked_http.answers(url, jwt_answer(), date=None)
        assert lifetime(await fetch(provider())) == 86400

    @pytest.mark.parametrize("bad", [None, "abc", "", [], {}, True, 0, -1, "0", "-5", 0.0])
    async def test_bad_seconds(self, mocked_http: MockedHttp, provider: Any, url: str, bad: object) -> None:
        """An ``expires_in`` that can't be read or is not positive is an error that names it."""
        mocked_http.answers(url, jwt_answer(expires_in=bad))
        error = await failure(provider())
        assert type(error) is InvalidTokenResponse
        assert "expires_in" in error.message
        keeps_quiet(error, PASSWORD, "the-access-token", "new-jwt")

    @pytest.mark.parametrize("skew", [-2 * HOUR, 0.0, 2 * HOUR], ids=["behind", "level", "ahead"])
    @pytest.mark.parametrize(
        ("claims", "expires_in", "expected"),
        [
            ({"iat": 0, "exp": DAY}, 86400, DAY),
            ({"iat": 0, "exp": HOUR}, 86400, HOUR),
            ({"iat": 0, "exp": HOUR}, ..., HOUR),
            ({"iat": -HOUR, "exp": HOUR}, ..., HOUR),  # a JWT that the server has had for an hour
            ({"iat": -23 * HOUR, "exp": HOUR}, 86400, HOUR),
            ({"exp": HOUR}, ..., HOUR),
            ({"exp": HOUR}, 86400, 86400),
            ({"iat": HOUR, "exp": HOUR}, ..., HOUR),  # an iat that is of no use
            ({"iat": 0}, ..., None),
            ({}, ..., None),
        ],
    )
    async def test_the_jwts_own_times(
        self,
        *,
        mocked_http: MockedHttp,
        provider: Any,
        url: str,
        claims: dict[str, float],
        expires_in: object,
        expected: float | None,
        skew: float,
    ) -> None:
        """The shortest of ``expires_in``, exp - iat and exp - the server's now counts, wherever its clock stands."""
        server = NOW + skew
        value = jwt(**{name: server + offset for name, offset in claims.items()})
        mocked_http.answers(url, jwt_answer(access_token_jwt=value, expires_in=expires_in), date=server)
        assert (await fetch(provider())).lifetime == expected

    async def test_a_jwt_that_is_dead_on_arrival(self, mocked_http: MockedHttp, provider: Any, url: str) -> None:
        """A JWT that has expired by the server's own clock is an error, whatever ``expires_in`` says."""
        mocked_http.answers(url, jwt_answer(access_token_jwt=jwt(iat=NOW - DAY, exp=NOW - 1)))
        assert type(await failure(provider())) is InvalidTokenResponse

    @pytest.mark.parametrize("bad", [..., None, "", 7, "a b", "a\nb"])
    async def test_no_jwt(self, mocked_http: MockedHttp, provider: Any, url: str, bad: object) -> None:
        """Without a JWT that can travel there is an error that names the field."""
        mocked_http.answers(url, jwt_answer(access_token_jwt=bad))
        error = await failure(provider())
        assert type(error) is InvalidTokenResponse
        assert "access_token_jwt" in error.message


# --- Refusals


@pytest.mark.parametrize(
    ("provider", "url", "step", "status", "fields", "said"),
    [
        (create, CREATE, "createToken", 401, {"message": "Invalid Token"}, "Invalid Token"),
        (login, LOGIN, "login", 400, {"error": "Wrong email or password."}, "Wrong email or password."),
        (
            exchange,
            EXCHANGE,
            "loginToken",
            400,
            {"error": "Invalid Authorization Header"},
            "Invalid Authorization Header",
        ),
        (
            exchange,
            EXCHANGE,
            "loginToken",
            403,
            {"error": "Not a valid or expired token"},
            "Not a valid or expired token",
        ),
    ],
)
async def test_refusals(
    *, mocked_http: MockedHttp, provider: Any, url: str, step: str, status: int, fields: dict[str, str], said: str
) -> None:
    """The documented refusals are permanent, and tell provider, step, endpoint, status and the server's words."""
    mocked_http.answers(url, fields, status=status)
    error = await failure(provider())
    assert type(error) is CredentialsRejected
    assert (error.provider, error.step, error.endpoint, error.status) == ("pago-facil", step, url, status)
    assert (error.error, error.error_description) == (None, said)
    assert said in str(error)
    keeps_quiet(error, PASSWORD, "the.jwt.here", "the-access-token")
    assert len(mocked_http.sent) == 1


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize(("provider", "url"), [(login, LOGIN), (create, CREATE), (exchange, EXCHANGE)])
async def test_three_statuses_refuse(mocked_http: MockedHttp, provider: Any, url: str, status: int) -> None:
    """400, 401 and 403 all mean "this credential was rejected" on all three endpoints, whatever the server's words."""
    mocked_http.answers(url, status=status, body=b"no")
    assert type(await failure(provider())) is CredentialsRejected


# --- expDate


def exp_dates(mocked_http: MockedHttp) -> list[float]:
    return [sent.json["expDate"] for sent in mocked_http.sent]


async def test_exp_date_is_an_epoch(mocked_http: MockedHttp) -> None:
    """A lifetime travels as ``expDate``: whole epoch seconds in a JSON body, beside the Bearer."""
    mocked_http.answers(EXCHANGE, jwt_answer(expires_in=600))
    await fetch(exchange(lifetime=600.5))
    assert mocked_http.sent[0].json == {"expDate": int(NOW + 600.5)}
    assert isinstance(mocked_http.sent[0].json["expDate"], int)
    assert mocked_http.sent[0].headers["Authorization"] == "Bearer the-access-token"


@pytest.mark.parametrize("skew", [-2 * HOUR, 2 * HOUR], ids=["behind", "ahead"])
async def test_exp_date_goes_by_the_servers_clock_once_known(mocked_http: MockedHttp, skew: float) -> None:
    """From the second request on, ``expDate`` is reckoned from the server's Date, also if ours was set meanwhile."""
    clock, provider = FakeClock(wall=NOW), exchange(lifetime=HOUR)
    mocked_http.answers(EXCHANGE, jwt_answer(expires_in=3600), date=NOW + skew)
    mocked_http.answers(EXCHANGE, jwt_answer(expires_in=3600), date=NOW + skew + 100)
    await fetch(provider, clock=clock)
    await clock.advance(100)
    clock.set_wall(NOW - DAY)
    await fetch(provider, clock=clock)
    assert exp_dates(mocked_http) == [int(NOW + HOUR), int(NOW + skew + 100 + HOUR)]


@pytest.mark.parametrize("status", [400, 403])
async def test_an_exp_date_that_had_passed_for_the_server(mocked_http: MockedHttp, status: int) -> None:
    """A first ``expDate`` by our clock that the server refuses is sent once more by the server's own."""
    mocked_http.answers(EXCHANGE, {"error": "expDate"}, status=status, date=NOW + 2 * HOUR)
    mocked_http.answers(EXCHANGE, jwt_answer(expires_in=3600), date=NOW + 2 * HOUR)
    token = await fetch(exchange(lifetime=HOUR))
    assert exp_dates(mocked_http) == [int(NOW + HOUR), int(NOW + 3 * HOUR)]
    assert lifetime(token) == HOUR


async def test_a_refusal_that_has_another_reason(mocked_http: MockedHttp) -> None:
    """Where the clocks agree, where the server sends no Date, or no lifetime was asked for, a refusal is a refusal."""
    mocked_http.answers(EXCHANGE, {"error": "No"}, status=403, date=NOW + 2)
    mocked_http.answers(EXCHANGE, {"error": "No"}, status=403, date=None)
    mocked_http.answers(EXCHANGE, {"error": "No"}, status=403, date=NOW + DAY)
    assert type(await failure(exchange(lifetime=HOUR))) is CredentialsRejected
    assert type(await failure(exchange(lifetime=HOUR))) is CredentialsRejected
    assert type(await failure(exchange())) is CredentialsRejected
    assert len(mocked_http.sent) == 3


async def test_refused_by_both_clocks(mocked_http: MockedHttp) -> None:
    """The second try by the server's clock is the last."""
    mocked_http.answers(EXCHANGE, {"error": "No"}, status=403, date=NOW + DAY, times=3)
    assert type(await failure(exchange(lifetime=HOUR))) is CredentialsRejected
    assert len(mocked_http.sent) == 2


# --- The chain


def chain(**options: Any) -> PagoFacilJWT:
    return PagoFacilJWT.from_password(**{"username": "ana@example.com", "password": PASSWORD, **options})


def serve_chain(mocked_http: MockedHttp, host: str = HOST) -> None:
    mocked_http.answers(f"{host}/login", jwt_answer(access_token_jwt="login-jwt"))
    mocked_http.answers(f"{host}/tokens/createToken", access_answer(access_token="access"))
    mocked_http.answers(f"{host}/loginToken", jwt_answer(access_token_jwt="api-jwt", expires_in=31536000))


@pytest.mark.parametrize("managed", [True, False])
async def test_the_whole_chain(mocked_http: MockedHttp, *, managed: bool) -> None:
    """``from_password`` goes login, createToken, loginToken, each with the token of the step before."""
    serve_chain(mocked_http)
    if managed:
        async with TokenManager(chain(), clock=FakeClock(wall=NOW)) as manager:
            token = await manager.token()
    else:
        token = await fetch(chain())
    assert [sent.url for sent in mocked_http.sent] == [LOGIN, CREATE, EXCHANGE]
    assert mocked_http.sent[0].json == {"username": "ana@example.com", "password": PASSWORD}
    assert mocked_http.sent[1].headers["Authorization"] == "Bearer login-jwt"
    assert mocked_http.sent[2].headers["Authorization"] == "Bearer access"
    assert token.authorization == "Bearer api-jwt"


async def test_the_chain_obtains_a_step_only_when_it_is_needed(mocked_http: MockedHttp) -> None:
    """A renewal of the JWT asks ``loginToken`` alone while the access token lives."""
    serve_chain(mocked_http)
    mocked_http.answers(EXCHANGE, jwt_answer(access_token_jwt="second"))
    async with TokenManager(chain(), clock=FakeClock(wall=NOW)) as manager:
        await manager.token()
        assert (await manager.refresh()).value == "second"
    assert [sent.url for sent in mocked_http.sent] == [LOGIN, CREATE, EXCHANGE, EXCHANGE]


async def test_the_chains_options_reach_every_step(mocked_http: MockedHttp) -> None:
    """Environment, base URL, lifetime and origins go where they belong."""
    serve_chain(mocked_http, "https://api-dev.pgf.cl")
    provider = chain(environment="development", lifetime=HOUR, origins="https://app.example")
    await fetch(provider)
    assert mocked_http.sent[2].json == {"expDate": int(NOW + HOUR)}
    assert provider.origins == ("https://app.example",)
    serve_chain(mocked_http, "http://127.0.0.1:9")
    await fetch(chain(base_url="http://127.0.0.1:9"))
    assert len(mocked_http.sent) == 6


@pytest.mark.parametrize(("status", "refused"), [(403, EXCHANGE), (401, CREATE)])
async def test_a_refused_step_is_mended_by_the_one_before(mocked_http: MockedHttp, status: int, refused: str) -> None:
    """A credential of an earlier step that is refused is dropped there, obtained anew once, and tried again."""
    mocked_http.answers(LOGIN, jwt_answer(access_token_jwt="login-jwt"))
    if refused == CREATE:
        mocked_http.answers(LOGIN, jwt_answer(access_token_jwt="login-jwt-2"))
        mocked_http.answers(CREATE, {"message": "Invalid Token"}, status=status)
    mocked_http.answers(CREATE, access_answer(access_token="access"))
    if refused == EXCHANGE:
        mocked_http.answers(CREATE, access_answer(access_token="access-2"))
        mocked_http.answers(EXCHANGE, {"error": "Not a valid or expired token"}, status=status)
    mocked_http.answers(EXCHANGE, jwt_answer(access_token_jwt="api-jwt"))
    async with TokenManager(chain(), clock=FakeClock(wall=NOW)) as manager:
        assert (await manager.token()).value == "api-jwt"
    again = [CREATE, EXCHANGE] if refused == EXCHANGE else [LOGIN, CREATE, EXCHANGE]
    first = [LOGIN, CREATE, EXCHANGE] if refused == EXCHANGE else [LOGIN, CREATE]
    assert [sent.url for sent in mocked_http.sent] == first + again


async def test_a_wrong_password_at_the_start_of_the_chain(mocked_http: MockedHttp) -> None:
    """The failure of the first step reaches the caller under its own name, marked as an upstream's; once."""
    mocked_http.answers(LOGIN, {"error": "Wrong email or password."}, status=400, times=5)
    async with TokenManager(chain(), clock=FakeClock(wall=NOW)) as manager:
        for _ in range(5):
            with pytest.raises(CredentialsRejected) as caught:
                await manager.token()
            error = caught.value
            assert (error.step, error.endpoint, error.status) == ("login", LOGIN, 400)
            assert error.error_description == "Wrong email or password."
            assert error.upstream
            keeps_quiet(error, PASSWORD)
    assert len(mocked_http.sent) == 1


# --- Identities


def test_identities() -> None:
    """A string without secrets that differs wherever the token does; unknown for a bare token without ``account``."""
    assert create().identity is None
    assert exchange().identity is None
    assert exchange(access_token=lambda: "x").identity is None
    named = [
        login().identity,
        login(generation=2).identity,
        login(environment="development").identity,
        login(username="eva@example.com").identity,
        create(account="a").identity,
        create(account="b").identity,
        create(account="a", environment="development").identity,
        create(jwt=login()).identity,
        create(jwt=login(username="eva@example.com")).identity,
        create(jwt=login(environment="development")).identity,
        exchange(account="a").identity,
        exchange(account="a", lifetime=HOUR).identity,
        exchange(account="a", lifetime=2 * HOUR).identity,
        chain().identity,
        chain(environment="development").identity,
        chain(username="eva@example.com").identity,
        chain(base_url="https://api.example").identity,
        chain(lifetime=HOUR).identity,
    ]
    assert None not in named
    assert len(set(named)) == len(named)
    assert not [identity for identity in named if PASSWORD in str(identity)]
    assert str(login().identity) in str(chain().identity)
    assert chain().identity == chain(password="another").identity
    assert TokenManager(chain()).identity == chain().identity


def test_a_chain_through_managers_has_the_same_identity() -> None:
    """An upstream that is a manager counts as its provider does."""
    assert create(jwt=TokenManager(login())).identity == create(jwt=login()).identity


def test_an_account_speaks_for_the_upstream() -> None:
    """``account=`` names whose token it is where the credential can't."""
    assert '"account":"shop"' in str(create(jwt=lambda: "x", account="shop").identity)


def test_reprs_show_no_secret() -> None:
    """A repr names endpoints and kinds of credentials, through the whole chain."""
    assert repr(create()) == f"<PagoFacil {CREATE} <jwt: str>>"
    for provider in (login(), create(), exchange(), chain(), create(jwt=TokenManager(login()))):
        assert not [secret for secret in (PASSWORD, "the.jwt.here", "the-access-token") if secret in repr(provider)]
