"""Whether the credentials are accepted: one token request, no more, so that no account is locked by it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp

from asyncauth.cli.credentials import PAGO_FACIL_VARIABLES, Credentials
from asyncauth.cli.doctor.finding import Finding, fail, ok, skip
from asyncauth.cli.systems import System
from asyncauth.cli.times import in_words
from asyncauth.errors import AuthError, CredentialsRejected, TokenEndpointUnavailable
from asyncauth.manager import engine_of
from asyncauth.providers.pago_facil import PagoFacil, PagoFacilJWT, PagoFacilLogin
from asyncauth.providers.peakly import Peakly
from asyncauth.providers.wire.error_codes import REQUEST_CODES

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from asyncauth.cli.target import Given
    from asyncauth.provider import Provider
    from asyncauth.token import Token

__all__ = ["login", "login_alone", "login_of_own"]

_ACCESS_TOKEN, _JWT = PAGO_FACIL_VARIABLES[:2]
_LIVES_LONG = "createToken would create an access token that is valid for years"


async def login(credentials: Credentials, place: dict[str, Any], timeout: float) -> Finding:  # noqa: ASYNC109
    """Return whether a system accepts the credentials.

    Of Pago Fácil's chain the first step alone is tried: ``createToken`` would make a token that lives for years.

    Args:
        credentials: Well-formed ones.
        place: The provider's ``environment`` or ``base_url``.
        timeout: Seconds for the answer.
    """
    provider = _provider(credentials, place)
    if provider is None:
        says = f"not tried with a JWT: {_LIVES_LONG} (asyncauth token {credentials.system} does)"
        return skip(f"{credentials.system} login", says)
    return await login_alone(credentials.system, provider, credentials.where(*credentials.used), timeout)


async def login_alone(name: str, provider: Provider, where: str, timeout: float) -> Finding:  # noqa: ASYNC109
    """Return whether a server gives a provider a token, by one request.

    Args:
        name: What outputs call it.
        provider: One that needs no manager: no credential of it is another provider's token.
        where: In words, where its credential comes from.
        timeout: Seconds for the answer.
    """

    async def fetch() -> Token:
        # The provider alone: a manager would try again where it thinks that this can help.
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            return await provider.fetch(http, None)

    return await _tried(f"{name} login", fetch(), where, timeout)


async def login_of_own(name: str, given: Given, timeout: float) -> Finding:  # noqa: ASYNC109
    """Return whether the user's own provider or manager obtains a token now.

    Of a chain with ``createToken`` its login alone is tried. A manager keeps the token, in its store as well.

    Args:
        name: ``module:attribute``.
        given: What it is.
        timeout: Seconds for the token.

    Raises:
        ConfigurationError: It is not a provider; the message says what it lacks.
    """
    manager = given.manager(timeout)
    chain = [engine_of(manager)]
    while chain[-1].upstreams:
        chain.append(chain[-1].upstreams[0])
    if isinstance(chain[-1].provider, PagoFacil):
        return skip(f"{name} login", f"not tried: {_LIVES_LONG} (asyncauth token {name} does)")
    mints = any(isinstance(each.provider, PagoFacil) for each in chain)
    tried = chain[-1] if mints else chain[0]

    async def obtain() -> Token:
        token = await tried.token()
        # One that a store had says nothing of the credential.
        return token if tried.state.refreshes else await tried.refresh()

    try:
        return await _tried(f"{name} login", obtain(), "what it is given as its credential", timeout)
    finally:
        await manager.close()


async def _tried(subject: str, token: Awaitable[Token], where: str, timeout: float) -> Finding:  # noqa: ASYNC109
    try:
        async with asyncio.timeout(timeout):
            obtained = await token
    except CredentialsRejected as error:
        if error.error in REQUEST_CODES:
            return fail(subject, f"tried once: {error}", "correct what is requested; the credential may be right")
        return fail(subject, f"tried once: {error}", f"correct {where}; each further try may lock the account")
    except TokenEndpointUnavailable as error:
        return fail(subject, str(error), "try again later, or ask the server's operator")
    except AuthError as error:
        return fail(subject, str(error), "is this the right address?")
    except TimeoutError:
        return fail(subject, f"no answer within {timeout:g} s", "try again later, or with a longer --timeout")
    life = "of unknown lifetime" if obtained.lifetime is None else f"that is valid for {in_words(obtained.lifetime)}"
    return ok(subject, f"accepted, with a token {life}")


def _provider(credentials: Credentials, place: dict[str, Any]) -> Provider | None:
    values, used = credentials.values, credentials.used
    if used == (_JWT,):
        return None
    if used == (_ACCESS_TOKEN,):
        return PagoFacilJWT(access_token=values[_ACCESS_TOKEN], **place)
    kind = Peakly if credentials.system == System.PEAKLY else PagoFacilLogin
    return kind(username=values[used[0]], password=values[used[1]], **place)
