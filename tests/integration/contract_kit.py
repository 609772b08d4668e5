"""What the contract's tests share: a system of the sandbox in a thread of its own, and its clients."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections import Counter
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
from harness.canary import CANARIES

from asyncauth import BearerAuth, PagoFacilJWT, Peakly, RefreshPolicy, TokenManager
from asyncauth.sandbox import sandbox_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from asyncauth.sandbox import PagoFacilSandbox, PeaklySandbox, Sandbox

PEAKLY, PAGO_FACIL = "peakly", "pago-facil"
SYSTEMS = (PEAKLY, PAGO_FACIL)
STEPS = {PEAKLY: ("password",), PAGO_FACIL: ("login", "createToken", "loginToken")}
QUICK = RefreshPolicy(backoff=0.02, backoff_limit=0.05)
"""Without a wait worth naming between the tries of one refresh."""


@attrs.frozen
class Side:
    """One system of a sandbox, and what its clients need."""

    sandbox: Sandbox
    name: str

    @property
    def server(self) -> PeaklySandbox | PagoFacilSandbox:
        return self.sandbox.peakly if self.name == PEAKLY else self.sandbox.pago_facil

    @property
    def last_step(self) -> str:
        """The step whose token the API takes."""
        return STEPS[self.name][-1]

    def url(self, path: str = "/api/echo") -> str:
        return self.server.url + path

    def provider(self, *, password: str | None = None) -> Peakly | PagoFacilJWT:
        """Return the provider of the token that the API takes: for Pago Fácil the whole chain."""
        make = Peakly if self.name == PEAKLY else PagoFacilJWT.from_password
        secret = self.server.settings.password if password is None else password
        return make(username=self.sandbox.username, password=secret, base_url=self.server.url)

    def manager(self, policy: RefreshPolicy = QUICK, *, http: aiohttp.ClientSession | None = None) -> TokenManager:
        return TokenManager(self.provider(), policy=policy, http=http)

    @property
    def asked(self) -> Counter[str]:
        """How many token requests there were, by step."""
        return Counter(self.server.counts.by_step)

    def rounds(self, times: int) -> Counter[str]:
        """Return what `asked` is when every step was asked for so many times."""
        return Counter(dict.fromkeys(STEPS[self.name], times))


@contextlib.contextmanager
def serving(name: str = PEAKLY, **options: Any) -> Iterator[Side]:
    """Serve a system in its own thread, so that only the client uses the client's event loop."""
    with sandbox_in_thread(**{**CANARIES, **options}) as sandbox:
        yield Side(sandbox, name)


@contextlib.asynccontextmanager
async def client(*managers: TokenManager, limit: int = 100, **options: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session that authorizes its requests, for as long as the managers are entered."""
    async with contextlib.AsyncExitStack() as stack:
        for manager in managers:
            await stack.enter_async_context(manager)
        connector = aiohttp.TCPConnector(limit=limit)
        session = aiohttp.ClientSession(middlewares=(BearerAuth(*managers),), connector=connector, **options)
        yield await stack.enter_async_context(session)


async def status_of(http: aiohttp.ClientSession, url: str, **options: Any) -> int:
    """Make a GET request, read its answer, and return the status."""
    async with http.get(url, **options) as response:
        await response.read()
        return response.status


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Return as soon as a condition holds.

    Raises:
        TimeoutError: It did not come to hold.
    """
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (what is waited for is on another thread)
            await asyncio.sleep(0.01)


def allow_sockets(wanted: int) -> None:
    """Raise the limit of open files as far as it takes, and may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
