"""How a client authenticates, what it asks for, and what makes its tokens differ."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import Any

import pytest
import yarl
from harness.canary import MARK
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey
from oauth2_kit import EC, PEM, RSA, URL, answer, basic, jwt_part, pairs
from provider_kit import NOW, MockedHttp, failure, fetch, keeps_quiet

from asyncauth import (
    BearerAuth,
    ClientCredentials,
    ConfigurationError,
    CredentialsRejected,
    InsecureTransport,
    PasswordGrant,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth.testing import FakeProvider

ID, SECRET = "my client:1", f"{MARK}%t:+&=/ ?~ñ"


def client(**options: Any) -> ClientCredentials:
    return ClientCredentials(**{"token_url": URL, "client_id": ID, "client_secret": SECRET, **options})


# --- Client authentication


async def test_basic_is_form_encoded_first(mocked_http: MockedHttp) -> None:
    """``client_secret_basic``, the default: id and secret are form-encoded before base64 (RFC 6749 §2.3.1)."""
    mocked_http.answers(URL, answer())
    await fetch(client())
    (sent,) = mocked_http.sent
    assert basic(sent) == (ID, SECRET)
    assert sent.form == {"grant_type": "client_credentials"}


async def test_basic_writes_a_space_as_all_servers_read_it(mocked_http: MockedHttp) -> None:
    """A space is ``%20``: some servers that percent-decode leave a ``+`` as it is."""
    mocked_http.answers(URL, answer())
    await fetch(client(client_id="my app", client_secret="a+b c/="))
    header = mocked_http.sent[0].headers["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(header) == b"my%20app:a%2Bb%20c%2F%3D"


async def test_basic_without_encoding(mocked_http: MockedHttp) -> None:
    """``client_secret_basic_raw``: as RFC 7617 has it, for servers that do not decode what they read."""
    mocked_http.answers(URL, answer())
    await fetch(client(client_id="my app", client_auth="client_secret_basic_raw"))
    header = mocked_http.sent[0].headers["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(header).decode() == f"my app:{SECRET}"


@pytest.mark.parametrize(
    ("status", "code", "advised"),
    [
        (401, "invalid_client", True),
        (400, "invalid_client", True),
        (400, None, True),
        (401, "Bad credentials", True),
        (401, "invalid_grant", False),
        (400, "invalid_scope", False),
    ],
)
async def test_what_to_try_for_special_characters(
    mocked_http: MockedHttp, status: int, code: str | None, *, advised: bool
) -> None:
    """A rejection of a client whose secret is percent-encoded names the other ways; another rejection does not."""
    mocked_http.answers(URL, {"error": code}, status=status, times=4)
    assert ("client_secret_post" in str(await failure(client()))) is advised
    assert "client_secret_post" not in str(await failure(client(client_id="app", client_secret="s3cret")))
    raw = str(await failure(client(client_auth="client_secret_basic_raw", client_id="a")))
    assert ("try client_auth='client_secret_basic'" in raw) is advised
    assert "try" not in str(await failure(client(client_auth="client_secret_post")))


@pytest.mark.parametrize(
    ("options", "audience"),
    [
        ({}, URL),
        ({"issuer": "https://login.example.com"}, "https://login.example.com"),
        ({"issuer": "https://login.example.com", "client_assertion_audience": URL}, URL),
        ({"client_assertion_audience": "https://login.example.com/tenant"}, "https://login.example.com/tenant"),
    ],
)
async def test_for_whom_an_assertion_is(mocked_http: MockedHttp, options: dict[str, Any], audience: str) -> None:
    """The issuer, else the token endpoint, unless another is given; a rejection names the argument, once."""
    mocked_http.answers(URL, {"error": "invalid_client"}, status=401)
    error = await failure(client(client_auth="private_key_jwt", client_secret=None, private_key=PEM, **options))
    (sent,) = mocked_http.sent
    assert jwt_part(sent.form["client_assertion"], 1)["aud"] == audience
    assert str(error).count("client_assertion_audience=") == 1


async def test_the_rfcs_own_example(mocked_http: MockedHttp) -> None:
    """A secret without special characters is what it would be without the encoding (RFC 6749 §2.3.1)."""
    mocked_http.answers(URL, answer())
    await fetch(client(client_id="s6BhdRkqt3", client_secret="7Fjfp0ZBr1KtDRbnfVdmIw"))
    assert mocked_http.sent[0].headers["Authorization"] == "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3"


async def test_post(mocked_http: MockedHttp) -> None:
    """``client_secret_post``: both in the form, no header."""
    mocked_http.answers(URL, answer())
    await fetch(client(client_auth="client_secret_post"))
    (sent,) = mocked_http.sent
    assert sent.form == {"grant_type": "client_credentials", "client_id": ID, "client_secret": SECRET}
    assert "Authorization" not in sent.headers


async def test_none(mocked_http: MockedHttp) -> None:
    """``none``: the client says who it is and proves nothing."""
    mocked_http.answers(URL, answer())
    await fetch(client(client_auth="none", client_secret=None))
    (sent,) = mocked_http.sent
    assert sent.form == {"grant_type": "client_credentials", "client_id": ID}
    assert "Authorization" not in sent.headers


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (EC, "ES256"),
        (RSA, "RS256"),
        (ECKey.generate_key("P-384"), "ES384"),
        (ECKey.generate_key("P-521"), "ES512"),
        (OKPKey.generate_key("Ed25519"), "Ed25519"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("form", ["pem", "jwk"])
async def test_private_key_jwt(mocked_http: MockedHttp, key: Any, algorithm: str, form: str) -> None:
    """A signed assertion for this request, in the algorithm of its kind of key (RFC 7523 §2.2, §3)."""
    mocked_http.answers(URL, answer(), times=2)
    text = key.as_pem(private=True).decode() if form == "pem" else json.dumps(key.as_dict(private=True))
    provider = client(client_auth="private_key_jwt", client_secret=None, private_key=text)
    await fetch(provider)
    await fetch(provider)
    first, second = (sent.form for sent in mocked_http.sent)
    assert first["client_id"] == ID
    assert first["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    token = jwt.decode(first["client_assertion"], key, algorithms=[algorithm])
    claims = token.claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == (ID, ID, URL)
    assert claims["iat"] == NOW - 2  # many servers refuse what was signed a moment in their future
    assert 0 < claims["exp"] - claims["iat"] <= 300
    assert jwt_part(second["client_assertion"], 1)["jti"] != claims["jti"]


async def test_a_keys_own_name_and_algorithm(mocked_http: MockedHttp) -> None:
    """A JWK says its ``kid`` and ``alg``; the arguments win; with an issuer the assertion is made out to it."""
    jwk = json.dumps({**RSA.as_dict(private=True), "kid": "k1", "alg": "PS256"})
    mocked_http.answers(URL, answer(), times=2)
    key: dict[str, Any] = {"client_auth": "private_key_jwt", "client_secret": None, "private_key": jwk}
    await fetch(client(**key, issuer="https://login.example.com"))
    await fetch(client(**key, key_id="k2", algorithm="RS512"))
    first, second = (sent.form["client_assertion"] for sent in mocked_http.sent)
    assert jwt_part(first, 0) == {"alg": "PS256", "kid": "k1", "typ": "JWT"}
    assert jwt_part(first, 1)["aud"] == "https://login.example.com"
    assert jwt_part(second, 0) == {"alg": "RS512", "kid": "k2", "typ": "JWT"}


async def test_a_key_from_a_callable(mocked_http: MockedHttp) -> None:
    """It is asked for when it is needed; one that can't sign is a configuration error then, and shows nothing."""
    mocked_http.answers(URL, answer())
    keys = [PEM, f"no key: {MARK}"]

    async def key() -> str:
        return keys.pop(0)

    provider = client(client_auth="private_key_jwt", client_secret=None, private_key=key)
    await fetch(provider)
    error = await failure(provider)
    assert isinstance(error, ConfigurationError)
    keeps_quiet(error, MARK)
    assert len(mocked_http.sent) == 1


def test_without_joserfc() -> None:
    """Where the extra is missing, the error says what to install, when the provider is made."""
    code = (
        "import sys; sys.modules['joserfc'] = None\n"
        "from asyncauth import ClientCredentials, ConfigurationError\n"
        "for more in ({'client_auth': 'private_key_jwt', 'private_key': 'x'}, {'client_secret': 'x', 'dpop': True},\n"
        "             {'client_auth': 'private_key_jwt', 'private_key': lambda: 'x'}):\n"
        "    try:\n"
        "        ClientCredentials(token_url='https://a.example/t', client_id='c', **more)\n"
        "    except ConfigurationError as error:\n"
        "        assert \"pip install 'asyncauth[jwt]'\" in str(error), error\n"
        "    else:\n"
        "        raise SystemExit(1)\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True)


async def test_a_secret_that_is_another_providers_token(mocked_http: MockedHttp) -> None:
    """A manager keeps it fresh, as it does any other credential."""
    upstream = FakeProvider()
    provider = client(client_secret=upstream, client_auth="client_secret_post")
    mocked_http.answers(URL, answer(), times=2)
    async with TokenManager(provider) as manager:
        await manager.refresh()
        await manager.refresh()
    assert [sent.form["client_secret"] for sent in mocked_http.sent] == ["token-1"] * 2
    assert upstream.calls == 1


# --- Arguments

PUBLIC_PEM = EC.as_pem(private=False).decode()

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no endpoint": ({"token_url": None}, "token_url"),
    "no url": ({"token_url": "nowhere"}, "token_url"),
    "fragment": ({"token_url": URL + "#x"}, "fragment"),
    "no id": ({"client_id": " "}, "client_id"),
    "no secret": ({"client_secret": None}, "client_secret"),
    "an id that can't be sent": ({"client_id": "\udc80"}, "client_id contains"),
    "empty secret": ({"client_secret": ""}, "client_secret"),
    "secret of another kind": ({"client_secret": 1}, "client_secret"),
    "unknown authentication": ({"client_auth": "tls"}, "client_auth"),
    "a secret that is not sent": ({"client_auth": "none"}, "client_secret"),
    "no key": ({"client_auth": "private_key_jwt"}, "private_key"),
    "a key that is not used": ({"client_secret": None, "private_key": PEM}, "private_key_jwt"),
    "a colon in Basic": ({"client_auth": "client_secret_basic_raw"}, "colon"),
    "an audience that is not used": ({"client_assertion_audience": URL}, "private_key_jwt"),
    "an empty audience": (
        {"client_auth": "private_key_jwt", "private_key": PEM, "client_assertion_audience": ""},
        "client_assertion_audience takes",
    ),
    "dpop_algorithm": ({"dpop_key": PEM, "dpop_algorithm": "EdDSA"}, "dpop_key"),
    "no PEM": ({"client_auth": "private_key_jwt", "private_key": MARK}, "PEM"),
    "a public key": ({"client_auth": "private_key_jwt", "private_key": PUBLIC_PEM}, "public"),
    "another's algorithm": ({"client_auth": "private_key_jwt", "private_key": PEM, "algorithm": "RS256"}, "algorithm"),
    "no scope": ({"scope": ""}, "scope"),
    "scope of a number": ({"scope": 5}, "scope takes"),
    "audience of a number": ({"audience": 5}, "audience takes"),
    "resource as a URL": ({"resource": yarl.URL("https://api.example.com")}, "resource takes"),
    "resource": ({"resource": "api"}, "resource"),
    "resource with a fragment": ({"resource": "https://api.example.com/#x"}, "resource"),
    "extra": ({"extra": {"n": 1}}, "extra"),
    "extra that is taken": ({"extra": {"grant_type": "x"}}, "grant_type"),
    "issuer with a query": ({"token_url": None, "issuer": "https://a.example/?x=1"}, "issuer"),
    "dpop_key": ({"dpop_key": MARK}, "dpop_key"),
    "dpop_key of a callable": ({"dpop_key": lambda: PEM}, "dpop_key"),
}


@pytest.mark.parametrize(("options", "words"), BAD.values(), ids=BAD.keys())
def test_arguments_that_cant_work(options: dict[str, Any], words: str) -> None:
    """A bad argument is refused by name when the provider is made, and no frame shows a secret."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        client(**options)
    keeps_quiet(caught.value, SECRET, MARK, PEM, "PRIVATE")


def test_plain_http_is_refused() -> None:
    """Endpoint and issuer must be https, loopback aside."""
    with pytest.raises(InsecureTransport):
        client(token_url="http://login.example.com/token")
    with pytest.raises(InsecureTransport):
        client(token_url=None, issuer="http://login.example.com")
    client(token_url="http://127.0.0.1:8080/token")


def test_a_token_goes_nowhere_unless_told() -> None:
    """The API of a token is somewhere else than its endpoint: BearerAuth says what to write."""
    assert client().origins == ()
    with pytest.raises(ConfigurationError, match="origins="):
        BearerAuth(TokenManager(client()))
    BearerAuth(TokenManager(client(origins="https://api.example.com")))


async def test_what_is_asked_for(mocked_http: MockedHttp) -> None:
    """Scope, audience, resource and extra travel as the form's fields, several as several (RFC 8707 §2)."""
    mocked_http.answers(URL + "?p=policy", answer())
    provider = client(
        token_url=URL + "?p=policy",
        scope=("read", "write more"),
        audience=["a", "b"],
        resource=("https://one.example/", "urn:two"),
        extra={"tenant": "t 1"},
    )
    await fetch(provider)
    assert pairs(mocked_http.sent[0]) == [
        ("grant_type", "client_credentials"),
        ("scope", "read write more"),
        ("audience", "a"),
        ("audience", "b"),
        ("resource", "https://one.example/"),
        ("resource", "urn:two"),
        ("tenant", "t 1"),
    ]
    assert "policy" not in repr(provider)


def test_the_identity_differs_wherever_the_token_does() -> None:
    """Endpoint, its query, client, scope, audience, resource, extra, key and grant: each makes another store key."""
    others: list[dict[str, Any]] = [
        {},
        {"token_url": "https://login.example.com/other"},
        {"token_url": URL + "?p=1"},
        {"token_url": URL + "?p=2"},
        {"token_url": None, "issuer": "https://login.example.com"},
        {"client_id": "other"},
        {"scope": "read"},
        {"scope": "read write"},
        {"audience": "read"},
        {"resource": "urn:read"},
        {"extra": {"tenant": "1"}},
        {"extra": {"tenant": "2"}},
        {"dpop_key": PEM},
        {"dpop_key": RSA.as_pem(private=True).decode()},
    ]
    identities = [client(**each).identity for each in others]
    identities.append(PasswordGrant(token_url=URL, username=ID, password="p", client_id=ID).identity)
    assert len(set(identities)) == len(others) + 1
    assert None not in identities
    assert client(scope="b a").identity == client(scope=["a", "b"]).identity
    assert client(client_secret="other").identity == client().identity
    assert not [each for each in identities if SECRET in str(each) or "PRIVATE" in str(each)]
    assert client(dpop=True).identity is None  # no other process has that key


# --- Errors (RFC 6749 §5.2)


@pytest.mark.parametrize(
    ("status", "fields", "kind"),
    [
        (401, {"error": "invalid_client", "error_description": "no\r\nsuch client"}, CredentialsRejected),
        (400, {"error": "invalid_grant"}, CredentialsRejected),
        (400, {"error": "unauthorized_client"}, CredentialsRejected),
        (400, {"error": "invalid_scope"}, CredentialsRejected),
        (200, {"error": "invalid_client"}, CredentialsRejected),
        (400, {"error": "temporarily_unavailable"}, TokenEndpointUnavailable),
        (200, {"error": "temporarily_unavailable"}, TokenEndpointUnavailable),
        (429, {}, TokenEndpointUnavailable),
        (503, {}, TokenEndpointUnavailable),
    ],
)
async def test_errors(mocked_http: MockedHttp, status: int, fields: dict[str, str], kind: type[Exception]) -> None:
    """Permanent or transient by the code and the status, whatever the other says."""
    mocked_http.answers(URL, fields, status=status)
    error = await failure(client())
    assert type(error) is kind
    assert error.error == fields.get("error")
    assert "\n" not in (error.error_description or "")
    assert error.endpoint == URL
    keeps_quiet(error, SECRET)


async def test_a_server_that_repeats_what_is_declared(mocked_http: MockedHttp) -> None:
    """A key may stand in the address and in ``extra=``: no error shows one."""
    url = f"{URL}?key={MARK}-1"
    mocked_http.answers(url, {"error": "invalid_client", "error_description": f"no: {MARK}-1 {MARK}-2."}, status=401)
    error = await failure(client(token_url=url, client_secret="secret", extra={"tenant": f"{MARK}-2"}))
    assert error.error_description == "no: … …."
    keeps_quiet(error, MARK)


async def test_a_server_that_repeats_what_was_sent(mocked_http: MockedHttp) -> None:
    """Neither the header's value nor an assertion gets into an error by way of the server's own words."""
    mocked_http.answers(URL, {"error": "invalid_client"}, status=401)
    await failure(client())
    header = mocked_http.sent[0].headers["Authorization"].removeprefix("Basic ")
    mocked_http.answers(URL, {"error": "invalid_client", "error_description": f"bad {header}"}, status=401)
    error = await failure(client())
    assert error.error_description == "bad …"
    keeps_quiet(error, header)
