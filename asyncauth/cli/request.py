"""``asyncauth request``: one authorized request, as curl would send it."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import aiohttp
import attrs
import typer
from yarl import URL

from asyncauth._http.origin import origin_of
from asyncauth.cli.addresses import check_plain
from asyncauth.cli.answer import Answer
from asyncauth.cli.options import (
    CREDENTIALS_HELP,
    Audience,
    BaseUrl,
    ClientAuthentication,
    Environment,
    InsecureHosts,
    Issuer,
    KeyringService,
    OptionalText,
    OptionalTexts,
    Scope,
    Timeout,
    TokenUrl,
    Verbose,
    systems_for_completion,
)
from asyncauth.cli.outcome import ExitCode, Problem, conclude
from asyncauth.cli.run import run
from asyncauth.cli.systems import HOSTS, System
from asyncauth.cli.target import Given, Target, held_by
from asyncauth.errors import AuthError
from asyncauth.manager import engine_of
from asyncauth.middleware import BearerAuth

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncauth.manager import TokenManager

__all__ = ["request"]

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""A method or a header's name (RFC 9110 §5.6.2)."""


def request(
    url: Annotated[str, typer.Argument(metavar="URL", help="The URL to request.", show_default=False)],
    *,
    whose: Annotated[
        OptionalText,
        typer.Option(
            "--as",
            metavar="WHOSE",
            help="Whose token to send, if the URL is of neither system: peakly, pago-facil, or module:attribute.",
            show_default=False,
            autocompletion=systems_for_completion,
        ),
    ] = None,
    method: Annotated[
        OptionalText,
        typer.Option("--method", "-X", metavar="METHOD", help="Default: GET, or POST with --data.", show_default=False),
    ] = None,
    data: Annotated[
        OptionalText,
        typer.Option("--data", "-d", metavar="DATA", help="The body: text, @file, or - for stdin.", show_default=False),
    ] = None,
    header: Annotated[
        OptionalTexts,
        typer.Option(
            "--header", "-H", metavar="'NAME: VALUE'", help="A header to send; may be repeated.", show_default=False
        ),
    ] = None,
    location: Annotated[bool, typer.Option("--location", "-L", help="Follow redirects.")] = False,
    environment: Environment = None,
    base_url: BaseUrl = None,
    issuer: Issuer = None,
    token_url: TokenUrl = None,
    scope: Scope = None,
    audience: Audience = None,
    client_auth: ClientAuthentication = None,
    insecure_host: InsecureHosts = None,
    keyring: KeyringService = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print status, headers and body as JSON.")] = False,
    timeout: Timeout = 30.0,
    verbose: Verbose = False,
) -> None:
    """Send an authorized request; print the answer's body."""

    def work() -> int:
        order = _order(url, method, data, header or [], location=location)
        target = Target(
            whose=whose,
            environment=environment,
            base_url=base_url,
            issuer=issuer,
            token_url=token_url,
            scope=scope,
            audience=audience,
            client_auth=client_auth,
            insecure_hosts=insecure_host,
            keyring=keyring,
        )
        given = _given(order.url, target)
        answer = run(_send(order, given.manager(timeout), given.secret, timeout))
        answer.write(as_json=as_json)
        return ExitCode.OK if answer.succeeded else ExitCode.FAILED

    conclude(work, verbose=verbose)


request.__doc__ = f"""{request.__doc__}

The URL's origin decides which token is sent. For a server that is neither Peakly's nor Pago Fácil's, name the
token: with --as and --environment or --base-url, or with --issuer or --token-url. It is then sent to the URL's
origin. The token of your own provider (--as module:attribute) is sent to that provider's origins only.

A JSON body is sent as application/json, unless -H sets another type.

{CREDENTIALS_HELP}

\b
Examples:
  asyncauth request 'https://api.peakly.co/api/Ventas/Clientes/Page?page=1&rows=50'
  asyncauth request -X POST -d @invoice.json https://api.peakly.co/api/Ventas/Facturas
  asyncauth request --as peakly --base-url http://127.0.0.1:8080 http://127.0.0.1:8080/api/check --json
  asyncauth request --as shop:manager https://api.example.com/orders
  asyncauth request --issuer https://login.example.com --scope read https://api.example.com/orders

Exit codes: 0 a status below 400, 1 any other status or no answer, 2 wrong usage or no credentials,
3 no token could be obtained.
"""


@attrs.frozen(repr=False)
class _Order:
    """What is to be sent."""

    url: URL
    method: str
    headers: list[tuple[str, str]]
    body: bytes | None
    follow: bool


def _order(url: str, method: str | None, data: str | None, headers: Iterable[str], *, location: bool) -> _Order:
    """Read the arguments.

    Raises:
        Problem: One can't be used.
    """
    target = _target(url)
    verb = (method or ("GET" if data is None else "POST")).upper()
    if not _NAME.fullmatch(verb):
        raise Problem("--method takes a word such as PUT")
    pairs = [_header(line) for line in headers]
    body = None if data is None else _body(data)
    if body is not None and not any(name.lower() == "content-type" for name, _ in pairs) and _is_json(body):
        pairs.append(("Content-Type", "application/json"))
    return _Order(target, verb, pairs, body, location)


def _target(url: str) -> URL:
    try:
        target = URL(url)
        complete = target.absolute and target.scheme in {"http", "https"} and bool(target.host)
    except ValueError:
        complete, target = False, URL()
    if not complete:
        raise Problem("the URL must be absolute, such as https://api.peakly.co/api/Ventas/Clientes/Page?page=1")
    if target.user is not None or target.password is not None:
        raise Problem("the URL must have no user and no password: the shell's history would keep them")
    return target


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or not _NAME.fullmatch(name) or not value.isprintable():
        raise Problem("--header takes 'Name: value'")
    if name.lower() == "authorization":
        raise Problem("--header can't set Authorization: asyncauth sets it")
    return name, value


def _body(data: str) -> bytes:
    if data == "-":
        return sys.stdin.buffer.read()
    if not data.startswith("@"):
        return data.encode("utf-8", "surrogateescape")
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        message = f"--data {data}: {error.strerror}"
    raise Problem(message)


def _is_json(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), (dict, list))
    except ValueError:
        return False


def _given(url: URL, target: Target) -> Given:
    """Return whose token this URL gets.

    Raises:
        Problem: The URL alone doesn't say, and nothing else was given; or the token may not be sent there.
    """
    origin = str(origin_of(url))
    if target.own is not None:
        given = target.given()
        check_plain(url, "the URL", getattr(given.source, "insecure_hosts", ()))
        if origin not in given.source.origins:
            may = f"only to {', '.join(given.source.origins)}" if given.source.origins else "it has no origins"
            raise Problem(f"the token of {target.own} may not be sent to {origin}: {may}")
        return given
    check_plain(url, "the URL", target.insecure_hosts)
    if target.is_client:
        return target.given(origins=(origin,))
    system, place = _place(origin, target)
    return attrs.evolve(target, whose=system).given(**place)


def _place(origin: str, target: Target) -> tuple[System, dict[str, Any]]:
    """Return which system's token an origin gets, and the provider's arguments for where it comes from.

    Raises:
        Problem: The origin alone doesn't say, and nothing else was given.
    """
    system = target.system
    known = next(
        ((each, name) for each, hosts in HOSTS.items() for name, host in hosts.items() if host == origin), None
    )
    if known is not None and system not in {None, known[0]}:
        known = None
    if known is not None:
        system = known[0]
    place = target.place(system)
    if known is not None:
        if place.get("environment", known[1]) != known[1]:
            raise Problem(f"{origin} is {known[0].value}'s {known[1]}: which accepts no other system's token")
        place = place or {"environment": known[1]}
    elif system is None:
        raise Problem(
            f"whose token is for {origin}? Name it with --as and --environment or --base-url, or with --issuer or"
            " --token-url"
        )
    elif not place:
        # A mistyped host must get neither a password nor a token.
        raise Problem(
            f"{origin} is not {system.value}'s: name the server that issues its token with --environment or --base-url"
        )
    assert system is not None  # noqa: S101 (known, or given)
    if "base_url" not in place or origin_of(URL(place["base_url"])) != URL(origin):
        place = {**place, "origins": (origin,), "insecure_hosts": target.insecure_hosts}
    return system, place


async def _send(
    order: _Order,
    manager: TokenManager,
    secret: str,
    timeout: float,  # noqa: ASYNC109 (aiohttp keeps it)
) -> Answer:
    """Send the request.

    Args:
        order: What to send.
        manager: Whose token goes with it.
        secret: What the token is obtained with: the API may be at the token endpoint, and repeat it.
        timeout: Seconds for the request.

    Raises:
        AuthError: No token could be had.
        Problem: No answer came.
    """
    try:
        return await _exchange(order, manager, secret, timeout)
    finally:
        await manager.close()


async def _exchange(order: _Order, manager: TokenManager, secret: str, timeout: float) -> Answer:  # noqa: ASYNC109
    # First, so that the timeout is the request's own.
    token = await manager.token()
    secrets = {secret, token.value, token.refresh_token or "", *held_by(engine_of(manager))}

    async def note_token(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        # Whatever was sent, also in between: an API may repeat all that it has seen.
        current = manager.current
        refresh_token = None if current is None else current.refresh_token
        secrets.update((request.headers.get("Authorization", "").partition(" ")[2], refresh_token or ""))
        return await handler(request)

    started = time.monotonic()
    async with aiohttp.ClientSession(
        middlewares=(BearerAuth(manager), note_token), timeout=aiohttp.ClientTimeout(total=timeout)
    ) as http:
        try:
            async with http.request(
                order.method, order.url, headers=order.headers, data=order.body, allow_redirects=order.follow
            ) as response:
                body = await response.read()
        except AuthError:
            raise
        except TimeoutError:
            message = f"no answer from {order.url.origin()} within {timeout:g} s"
        except aiohttp.ClientConnectorCertificateError:
            message = f"no connection to {order.url.origin()}: its TLS certificate is not trusted"
        except aiohttp.ClientConnectorError as error:
            message = f"no connection to {order.url.origin()}: {_reason(error.os_error)}"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # The class alone: these texts can hold headers and queries.
            hint = "; if it is an https server, write https" if order.url.scheme == "http" else ""
            message = f"no answer from {order.url.origin()}: {type(error).__name__}{hint}"
        else:
            return Answer.of(response, body, seconds=time.monotonic() - started, secrets=secrets)
    raise Problem(message, ExitCode.FAILED)


def _reason(error: OSError) -> str:
    # A resolver's numbers are negative and not the system's; asyncio's texts repeat the address.
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or type(error).__name__
