"""Authorization servers of the Python world that nobody here wrote: Authlib's, and django-oauth-toolkit's."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio
from harness.canary import also
from joserfc.jwk import ECKey
from loopback import nothing_left

from asyncauth import ClientCredentials, CredentialsRejected, PasswordGrant, Provider, RefreshGrant, Token, TokenManager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

HERE = Path(__file__).parent / "python_servers"
SECRET = also("a+b/c=d:e%f &?~")
"""One that HTTP's Basic scheme can carry in more than one way."""
PASSWORD = also("Sésamo+ábrete / 1=1")
KEY = ECKey.generate_key("P-256")
PEM = also(KEY.as_pem(private=True).decode())
GRANTS = ["client_credentials", "password", "refresh_token"]
AUTHLIBS = {
    "basic": {"secret": SECRET, "auth": "client_secret_basic", "grants": GRANTS},
    "post": {"secret": SECRET, "auth": "client_secret_post", "grants": GRANTS},
    "key": {"secret": "", "auth": "client_assertion_jwt", "grants": GRANTS, "key": KEY.as_dict(private=False)},
}
DJANGOS = {
    "basic": {"secret": SECRET, "grant": "client-credentials"},
    "post": {"secret": SECRET, "grant": "password"},
}


@pytest_asyncio.fixture(autouse=True)
async def tidy() -> AsyncIterator[None]:
    async with nothing_left():
        yield


@contextlib.contextmanager
def serving(script: str, clients: dict[str, Any]) -> Iterator[str]:
    """Run a server; give its address."""
    environment = {**os.environ, "CLIENTS": json.dumps(clients), "PASSWORD": PASSWORD}
    command = [sys.executable, "-W", "ignore", str(HERE / script)]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            if not url:
                log.seek(0)
                pytest.fail(f"{script} did not start: {log.read().decode()[-2000:]}")
            yield url
        finally:
            process.kill()


@pytest.fixture(scope="module")
def authlib() -> Iterator[str]:
    with serving("authlib_server.py", AUTHLIBS) as url:
        yield url


@pytest.fixture(scope="module")
def django() -> Iterator[str]:
    with serving("django_server.py", DJANGOS) as url:
        yield url


@pytest.fixture(params=["authlib", "django"])
def token_url(request: pytest.FixtureRequest) -> str:
    """The token endpoint of one and the other."""
    url: str = request.getfixturevalue(request.param)
    return f"{url}/token" if request.param == "authlib" else f"{url}/token/"


async def obtained(provider: Provider) -> Token:
    async with TokenManager(provider) as manager:
        return await manager.token()


async def refused(provider: Provider) -> CredentialsRejected:
    async with TokenManager(provider) as manager:
        with pytest.raises(CredentialsRejected) as caught:
            await manager.token()
    return caught.value


def password(url: str, **options: Any) -> PasswordGrant:
    given = {"username": "ana", "password": PASSWORD, "client_id": "post", "client_secret": SECRET, **options}
    return PasswordGrant(token_url=url, client_auth="client_secret_post", **given)


async def test_basic_with_special_characters(token_url: str) -> None:
    """A percent-encoded secret is read as what it was."""
    token = await obtained(ClientCredentials(token_url=token_url, client_id="basic", client_secret=SECRET))
    assert token.lifetime == pytest.approx(60, abs=2)
    error = await refused(ClientCredentials(token_url=token_url, client_id="basic", client_secret="wrong+"))
    assert error.error == "invalid_client"
    assert "client_secret_post" in str(error)


async def test_basic_without_encoding(authlib: str, django: str) -> None:
    """Who decodes what was not encoded reads another secret; the error names the other way."""
    options: dict[str, Any] = {"client_id": "basic", "client_secret": SECRET, "client_auth": "client_secret_basic_raw"}
    await obtained(ClientCredentials(token_url=f"{authlib}/token", **options))
    error = await refused(ClientCredentials(token_url=f"{django}/token/", **options))
    assert "client_secret_basic'" in str(error)


async def test_a_password_and_refresh_tokens(token_url: str) -> None:
    """A login, and three renewals with refresh tokens that rotate; the last one serves by itself."""
    async with TokenManager(password(token_url, scope="read")) as manager:
        tokens = [await manager.token()]
        tokens += [await manager.refresh() for _ in range(3)]
    assert len({token.value for token in tokens}) == len({token.refresh_token for token in tokens}) == 4
    client: dict[str, Any] = {"client_id": "post", "client_secret": SECRET, "client_auth": "client_secret_post"}
    last = tokens[-1].refresh_token or ""
    await obtained(RefreshGrant(token_url=token_url, refresh_token=last, **client))
    error = await refused(RefreshGrant(token_url=token_url, refresh_token=last, **client))
    assert error.error == "invalid_grant"


async def test_a_wrong_password(token_url: str) -> None:
    """The server's word for it, and none of ours."""
    error = await refused(password(token_url, password="wr0ng-password"))
    assert error.error in {"invalid_grant", "invalid_request"}
    assert error.error_description


async def test_the_audience_of_an_assertion(authlib: str) -> None:
    """A server that takes the token endpoint alone refuses an issuer; the error names the argument that helps."""
    options: dict[str, Any] = {"client_id": "key", "client_auth": "private_key_jwt", "private_key": PEM}
    url = f"{authlib}/token"
    await obtained(ClientCredentials(token_url=url, **options))
    error = await refused(ClientCredentials(token_url=url, issuer=authlib, **options))
    assert "client_assertion_audience=" in str(error)
    await obtained(ClientCredentials(token_url=url, issuer=authlib, client_assertion_audience=url, **options))


async def api_says(token_url: str, token: Token) -> int:
    """Return the status with which the server's API answers a token."""
    url = token_url.rstrip("/").removesuffix("/token")
    headers = {"Authorization": token.authorization}
    async with aiohttp.ClientSession() as http, http.get(f"{url}/api", headers=headers) as response:
        return response.status


async def test_a_logout(token_url: str) -> None:
    """The refresh token and the access token are of no more use; the next token comes of the password."""
    revocation_url = token_url.replace("/token", "/revoke")
    manager = TokenManager(password(token_url, revocation_url=revocation_url, scope="read"))
    token = await manager.token()
    assert await api_says(token_url, token) == 200
    revocation = await manager.revoke()
    assert [each.kind for each in revocation.revoked] == ["refresh_token", "access_token"]
    assert revocation.complete
    assert await api_says(token_url, token) in {401, 403}
    client: dict[str, Any] = {"client_id": "post", "client_secret": SECRET, "client_auth": "client_secret_post"}
    error = await refused(RefreshGrant(token_url=token_url, refresh_token=token.refresh_token or "", **client))
    assert error.error == "invalid_grant"
    async with manager:
        assert await api_says(token_url, await manager.token()) == 200


async def test_a_logout_that_the_server_refuses(token_url: str) -> None:
    """A client that can't authenticate revokes nothing: both tokens remain, with the reason."""
    url = token_url.replace("/token", "/revoke")
    secrets = iter([SECRET])
    provider = password(token_url, revocation_url=url, scope="read", client_secret=lambda: next(secrets, "wr0ng"))
    manager = TokenManager(provider)
    token = await manager.token()
    revocation = await manager.revoke()
    assert [each.kind for each in revocation.remaining] == ["refresh_token", "access_token"]
    assert all("invalid_client" in (each.error or "") for each in revocation.remaining)
    assert await api_says(token_url, token) == 200


async def test_a_logout_with_an_assertion(authlib: str) -> None:
    """A client that signs an assertion signs one for the revocation endpoint."""
    options: dict[str, Any] = {"client_id": "key", "client_auth": "private_key_jwt", "private_key": PEM}
    manager = TokenManager(
        ClientCredentials(token_url=f"{authlib}/token", revocation_url=f"{authlib}/revoke", **options)
    )
    token = await manager.token()
    assert (await manager.revoke()).complete
    assert await api_says(f"{authlib}/token", token) == 401
