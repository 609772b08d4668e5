"""The machine on which the pages' code runs: every address that they print leads to a server on loopback.

The code is not touched. The machine is: its name service knows the names below and no others, its certificate authority
is a private one, and its environment holds the credentials, as a reader's does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import ssl
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import trustme
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey
from proxy_kit import ForwardProxy
from redis_kit import redis_server

from asyncauth.sandbox import Sandbox, sandbox_in_thread

PEAKLY = ("api.peakly.co", "qa.api.peakly.co")
PAGO_FACIL = ("api.pgf.cl", "api-dev.pgf.cl")
OTHERS = ("login.example.com", "api.example.com", "api.acme.example")
COMPANY = "login.corp.example"
"""A server whose authority nobody knows but the company, and that wants a client certificate."""

CLIENT_SECRET = "s3cret-of-the-client"
ACME_SECRET = "s3cret-of-acme"
ROBOT = "robot@example.com"
"""Whose assertions the OAuth 2.0 server accepts, made out to the endpoint below."""
ROBOT_AUDIENCE = "https://login.example.com/token"

NAME_SERVICE = """
import json, os, socket

_places = json.loads(os.environ["PLACES"])
_addresses = {name: f"127.0.1.{number}" for number, name in enumerate(_places, 1)}
_ports = {(_addresses[name], int(name.rpartition(":")[2])): port for name, port in _places.items()}
_getaddrinfo, _connect = socket.getaddrinfo, socket.socket.connect

def getaddrinfo(host, port, *args, **kwargs):
    name = host.decode() if isinstance(host, bytes) else host
    address = _addresses.get(f"{name}:{port}")
    if address is not None:
        return _getaddrinfo(address, port, *args, **kwargs)
    if name in (None, "127.0.0.1", "localhost", "::1", "0.0.0.0"):
        return _getaddrinfo(host, port, *args, **kwargs)
    raise socket.gaierror(socket.EAI_NONAME, f"there is no {name}:{port} in this world")

def connect(self, address):
    # Here and not above: anyio connects to the port that was asked for, whichever one a name was said to have.
    port = _ports.get(address[:2]) if isinstance(address, tuple) else None
    return _connect(self, address if port is None else ("127.0.0.1", port))

socket.getaddrinfo, socket.socket.connect = getaddrinfo, connect
"""


@contextlib.contextmanager
def world(folder: Path) -> Iterator[dict[str, str]]:
    """Run the servers; give the environment variables of a machine on which the pages' addresses lead to them."""
    authority = trustme.CA()
    certificate = authority.issue_cert(*PEAKLY, *PAGO_FACIL, *OTHERS)
    authority.cert_pem.write_to_path(folder / "authority.pem")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(NAME_SERVICE)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(tls)
    company = trustme.CA()
    company.cert_pem.write_to_path(folder / "company.pem")
    company.issue_cert("reports.corp.example").private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    with redis_server(password="") as redis, sandbox_in_thread() as sandbox, _loop_in_thread() as loop:
        robot = RSAKey.generate_key(2048)
        servers = _Servers(sandbox, tls, _wanting_a_client_certificate(company), robot)
        places = asyncio.run_coroutine_threadsafe(servers.start(), loop).result()
        places["localhost:6379"] = redis.port
        try:
            yield {
                **{
                    name: value
                    for name, value in os.environ.items()
                    if name in {"HOME", "LANG", "TMPDIR", "VIRTUAL_ENV"}
                },
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
                "PYTHONPATH": os.pathsep.join([str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]),
                "PYTHONDONTWRITEBYTECODE": "1",
                "UVICORN_LOOP": "asyncio",  # uvloop has a resolver of its own, which knows no names of this world
                "UVICORN_TIMEOUT_WORKER_HEALTHCHECK": "60",  # a worker of a busy machine may not answer within 5 s
                "PYTHONUNBUFFERED": "1",
                "SSL_CERT_FILE": str(folder / "authority.pem"),
                "REQUESTS_CA_BUNDLE": str(folder / "authority.pem"),
                "COMPANY_CA": str(folder / "company.pem"),
                "CLIENT_CERTIFICATE": str(folder / "client.pem"),
                "PLACES": json.dumps(places),
                **_credentials(sandbox, folder),
                **_keys(robot, folder),
            }
        finally:
            asyncio.run_coroutine_threadsafe(servers.stop(), loop).result()


def _wanting_a_client_certificate(authority: trustme.CA) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(COMPANY).configure_cert(tls)
    authority.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    return tls


def _credentials(sandbox: Sandbox, folder: Path) -> dict[str, str]:
    """Return what a reader has in their environment, or in the file that a variable names."""
    vault = folder / "credentials"
    vault.mkdir()
    for system in ("peakly", "pago-facil"):
        (vault / f"{system}-password").write_text(f"{sandbox.password}\n")
    jwt = _post(f"{sandbox.pago_facil.url}/login", username=sandbox.username, password=sandbox.password)
    access = _post(f"{sandbox.pago_facil.url}/tokens/createToken", bearer=jwt["access_token_jwt"])
    held = {
        "PEAKLY_USERNAME": sandbox.username,
        "PEAKLY_PASSWORD": sandbox.password,
        "PAGO_FACIL_USERNAME": sandbox.username,
        "PAGO_FACIL_PASSWORD": sandbox.password,
        "PAGO_FACIL_JWT": jwt["access_token_jwt"],
        "PAGO_FACIL_ACCESS_TOKEN": access["access_token"],
    }
    return {
        **held,
        "CREDENTIALS_DIRECTORY": str(vault),
        "CLIENT_SECRET": CLIENT_SECRET,
        "ACME_SECRET": ACME_SECRET,
        "ACME_PARTNER_KEY": "p4rtner-key-of-acme",
    }


def _keys(robot: RSAKey, folder: Path) -> dict[str, str]:
    """Return a service account's private key, and where a platform keeps an assertion that it signs itself."""
    ready_made = folder / "assertion"
    claims = {"iss": ROBOT, "sub": ROBOT, "aud": ROBOT_AUDIENCE}
    ready_made.write_text(jwt.encode({"alg": "RS256"}, {**claims, "exp": time.time() + 3600}, robot) + "\n")
    return {"ROBOT_PRIVATE_KEY": robot.as_pem(private=True).decode(), "ASSERTION_FILE": str(ready_made)}


def _post(url: str, *, bearer: str | None = None, **fields: str) -> dict[str, str]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
    request = urllib.request.Request(url, json.dumps(fields).encode() if fields else b"", headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 (the sandbox)
        found: dict[str, str] = json.load(answer)
    return found


async def _tokens_of(request: web.Request) -> list[str]:
    """Return what may be a token, wherever a page's API takes it."""
    found = [
        request.headers.get("Authorization", "").removeprefix("Bearer "),
        request.headers.get("X-Api-Token", ""),
        request.cookies.get("SESSION", ""),
    ]
    if request.content_type == "application/json":
        found.append((await request.json()).get("token", ""))
    return found


@contextlib.contextmanager
def _loop_in_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@attrs.define(eq=False)
class _Servers:
    """TLS in front of the sandbox under the two systems' names, and an OAuth 2.0 server and an API of somebody else.

    And the same server behind a company's own authority, a forward proxy, and the sandbox in the clear as a container.
    """

    sandbox: Sandbox
    tls: ssl.SSLContext
    company: ssl.SSLContext
    robot: RSAKey
    issued: set[str] = attrs.field(factory=set[str])
    listening: list[asyncio.Server] = attrs.field(factory=list[asyncio.Server])
    streams: set[asyncio.StreamWriter] = attrs.field(factory=set[asyncio.StreamWriter])
    runner: web.AppRunner | None = None
    proxy: ForwardProxy = attrs.field(factory=ForwardProxy)
    opened: contextlib.AsyncExitStack = attrs.field(factory=contextlib.AsyncExitStack)

    async def start(self) -> dict[str, int]:
        """Listen; return the port of each ``name:443``."""
        places: dict[str, int] = {}
        for names, port in ((PEAKLY, self.sandbox.peakly.port), (PAGO_FACIL, self.sandbox.pago_facil.port)):
            there = await self._front(port)
            places |= {f"{name}:443": there for name in names}
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        port = int(self.runner.addresses[0][1])
        there = await self._front(port)
        places |= {f"{name}:443": there for name in OTHERS}
        places[f"{COMPANY}:443"] = await self._front(port, self.company)
        self.proxy.places = dict(places)
        await self.opened.enter_async_context(self.proxy.serve())
        places["proxy.example.com:3128"] = int(self.proxy.url.rpartition(":")[2])
        places["sandbox:8080"] = self.sandbox.peakly.port
        return places

    async def stop(self) -> None:
        await self.opened.aclose()
        for server in self.listening:
            server.close()
        for writer in self.streams:
            writer.transport.abort()
        if self.runner is not None:
            await self.runner.cleanup()
        await asyncio.sleep(0.05)  # what was aborted ends

    async def _front(self, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Serve TLS in front of a port; return where."""

        async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
            writer.close()

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner_reader, inner = await asyncio.open_connection("127.0.0.1", port)
            both = {writer, inner}
            self.streams |= both
            await asyncio.gather(pour(reader, inner), pour(inner_reader, writer))
            self.streams -= both

        server = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=tls or self.tls)
        self.listening.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def _answer(self, request: web.Request) -> web.Response:
        if request.path.startswith("/.well-known/"):
            issuer = f"https://{request.host}"
            paths = {"token": "token", "revocation": "revoke", "device_authorization": "device_authorization"}
            endpoints = {f"{name}_endpoint": f"{issuer}/{path}" for name, path in paths.items()}
            return web.json_response({"issuer": issuer, **endpoints})
        if request.path in {"/token", "/revoke", "/device_authorization"}:
            return await self._oauth(request)
        if request.path == "/v1/session":
            order = await request.json()
            if order.get("secret") != ACME_SECRET:
                return web.json_response({"message": "unknown key"}, status=403)
            until = datetime.now(UTC) + timedelta(hours=2)
            return web.json_response({"data": {"session": self._issue(), "valid_until": until.isoformat()}})
        if not self.issued.intersection(await _tokens_of(request)):
            return web.json_response({}, status=401, headers={"WWW-Authenticate": "Bearer"})
        return web.json_response({"path": request.path})

    async def _oauth(self, request: web.Request) -> web.Response:
        form = await request.post()
        public = form.get("client_id") == "shop-cli"
        basic = request.headers.get("Authorization", "").startswith("Basic ")
        if "assertion" in form:
            signed = jwt.decode(str(form["assertion"]), self.robot, algorithms=["RS256"])
            expected = {"iss": ROBOT, "aud": ROBOT_AUDIENCE}.items()
            if not expected <= signed.claims.items():
                return web.json_response({"error": "invalid_grant"}, status=400)
        elif not basic and form.get("client_secret") != CLIENT_SECRET and "subject_token" not in form and not public:
            return web.json_response({"error": "invalid_client"}, status=401)
        if request.path == "/revoke":
            self.issued.discard(str(form["token"]))
            return web.Response()
        if request.path == "/device_authorization":
            prompt = {"user_code": "WDJB-MJHT", "verification_uri": f"https://{request.host}/device"}
            return web.json_response({"device_code": "device-code", **prompt, "expires_in": 600, "interval": 1})
        answer = {"access_token": self._issue(), "token_type": "Bearer", "expires_in": 3600}
        if "device_code" in form:  # the user has approved before the first poll
            answer["refresh_token"] = secrets.token_urlsafe(24)
        return web.json_response({**answer, "scope": form.get("scope", "")})

    def _issue(self) -> str:
        token = secrets.token_urlsafe(24)
        self.issued.add(token)
        return token
