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
from asyncauth.providers.pago_facil import PagoFacilJWT, PagoFacilLogin
from asyncauth.providers.peakly import Peakly

if TYPE_CHECKING:
    from asyncauth.provider import Provider

__all__ = ["login"]

_ACCESS_TOKEN, _JWT = PAGO_FACIL_VARIABLES[:2]


async def login(credentials: Credentials, place: dict[str, Any], timeout: float) -> Finding:  # noqa: ASYNC109
    """Return whether the system accepts the credentials.

    Of Pago Fácil's chain the first step alone is tried: ``createToken`` would make a token that lives for years.

    Args:
        credentials: Well-formed ones.
        place: The provider's ``environment`` or ``base_url``.
        timeout: Seconds for the answer.
    """
    subject = f"{credentials.system.value} login"
    provider = _provider(credentials, place)
    if provider is None:
        says = "not tried with a JWT: createToken would make an access token that lives for years"
        return skip(subject, f"{says} (asyncauth token {credentials.system.value} does)")
    where = credentials.where(*credentials.used)
    try:
        async with asyncio.timeout(timeout), aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            # The provider alone: a manager would try again where it thinks that this can help.
            token = await provider.fetch(http, None)
    except CredentialsRejected as error:
        return fail(subject, f"tried once: {error}", f"correct {where}; each further try may lock the account")
    except TokenEndpointUnavailable as error:
        return fail(subject, str(error), "try again later, or ask whoever runs the server")
    except AuthError as error:
        return fail(subject, str(error), "is this the right --environment or --base-url?")
    except TimeoutError:
        return fail(subject, f"no answer within {timeout:g} s", "try again later, or with a longer --timeout")
    life = "of unknown life" if token.lifetime is None else f"that lives for {in_words(token.lifetime)}"
    return ok(subject, f"accepted, with a token {life}")


def _provider(credentials: Credentials, place: dict[str, Any]) -> Provider | None:
    values, used = credentials.values, credentials.used
    if used == (_JWT,):
        return None
    if used == (_ACCESS_TOKEN,):
        return PagoFacilJWT(access_token=values[_ACCESS_TOKEN], **place)
    kind = Peakly if credentials.system is System.PEAKLY else PagoFacilLogin
    return kind(username=values[used[0]], password=values[used[1]], **place)
