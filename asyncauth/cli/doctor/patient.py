"""What the doctor looks at: a system, an OAuth client's server, or a provider of the user's own."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import attrs
from yarl import URL

from asyncauth.cli.credentials import CLIENT, Credentials
from asyncauth.cli.doctor.clocks import where_it_works
from asyncauth.cli.doctor.finding import Finding, Mark, skip
from asyncauth.cli.doctor.login import login, login_alone, login_of_own
from asyncauth.cli.doctor.network import reach
from asyncauth.cli.doctor.shape import shape
from asyncauth.cli.systems import HOSTS, System
from asyncauth.cli.target import Given, Target, client_of
from asyncauth.manager import TokenManager, engine_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["Patient", "patients_of"]

_CLOCK = " clock"
_ANY = 1.0
"""Seconds of a deadline that nothing uses."""


@attrs.frozen
class Patient:
    """One of what is looked at.

    Attributes:
        name: What outputs call it.
        target: What the user said of it.
        origin: Where its tokens come from; ``None``: its provider doesn't say.
        credentials: What the user has for it; ``None``: the user's own object has them.
        own: The user's own object; ``None``: it is not one.
    """

    name: str
    target: Target
    origin: URL | None
    credentials: Credentials | None = None
    own: Given | None = None

    async def findings(self, timeout: float, *, login: bool, offline: bool) -> AsyncGenerator[Finding, None]:  # noqa: ASYNC109
        """Look at one thing after the other.

        Args:
            timeout: Seconds for one answer.
            login: Whether credentials may be sent.
            offline: Whether nothing may be sent at all.
        """
        shaped = [] if self.credentials is None else shape(self.credentials, time.time())
        for finding in shaped:
            yield finding
        if offline:
            yield skip(self.name, f"{self.origin or 'the token endpoint'}: not contacted (--offline)")
            return
        way = [_unknown(self.name)] if self.origin is None else await self._reach(self.origin, timeout)
        clocks = [finding for finding in way if finding.subject.endswith(_CLOCK)]
        for finding in way:
            if finding not in clocks:
                yield finding
        tried = await self._login(shaped, way, timeout, allowed=login)
        for finding in clocks:
            # Told once the login was tried: where it works, a clock that is off keeps nobody from a token.
            yield where_it_works(finding) if tried.mark is Mark.OK else finding
        yield tried

    @property
    def store(self) -> str | None:
        """Where the store of the user's own manager is; ``None``: there is none, or it doesn't say."""
        manager = None if self.own is None else self.own.source
        client = engine_of(manager).store_client if isinstance(manager, TokenManager) else None
        if client is None:
            return None
        place: object = getattr(client.store, "place", None)
        return place if isinstance(place, str) else None

    async def _reach(self, origin: URL, timeout: float) -> list[Finding]:  # noqa: ASYNC109
        return await reach(self.name, origin, timeout, whose=None if self.target.system else origin.host)

    async def _login(self, shaped: list[Finding], way: list[Finding], timeout: float, *, allowed: bool) -> Finding:  # noqa: ASYNC109
        subject = f"{self.name} login"
        if not allowed:
            return skip(subject, "not tried (--no-login)")
        if any(finding.mark is Mark.FAIL for finding in shaped):
            return skip(subject, "not tried: the credentials can't be right")
        if any(finding.mark is Mark.FAIL and not finding.subject.endswith(_CLOCK) for finding in way):
            return skip(subject, "not tried: the server can't be reached")
        if self.own is not None:
            return await login_of_own(self.name, self.own, timeout)
        assert self.credentials is not None  # noqa: S101 (whatever is not the user's own object has some)
        if self.target.is_client:
            given = client_of(self.target, self.credentials)
            assert not isinstance(given.source, TokenManager)  # noqa: S101 (a provider is made of them)
            return await login_alone(self.name, given.source, self.credentials.where(*self.credentials.used), timeout)
        return await login(self.credentials, self.target.place(System(self.name)), timeout)


def _unknown(name: str) -> Finding:
    return skip(f"{name} server", "not checked: its provider has no token_endpoint")


def patients_of(target: Target) -> list[Patient]:
    """Return what is to be looked at: what was named, or else each system that has credentials.

    Raises:
        Problem: A place was given and no system, or the user's own module can't be used.
        ConfigurationError: The user's own object is not a provider.
    """
    if target.own is not None:
        given = target.given()
        given.manager(_ANY)  # says what it lacks, if it is not a provider
        return [Patient(target.own, target, _endpoint_of(given), own=given)]
    if target.is_client:
        address = URL(target.issuer or target.token_url or "")
        return [Patient(CLIENT, target, address.origin(), Credentials.found(CLIENT, target.keyring))]
    if target.system is not None:
        return [_of_system(target, target.system)]
    return [
        _of_system(attrs.evolve(target, whose=each.value), each)
        for each in System
        if any(Credentials.found(each, target.keyring).values.values())
    ]


def _of_system(target: Target, system: System) -> Patient:
    place = target.place(system)
    address = URL(place.get("base_url") or HOSTS[system][place.get("environment", "production")])
    return Patient(system.value, target, address.origin(), Credentials.found(system, target.keyring))


def _endpoint_of(given: Given) -> URL | None:
    """Return the origin that an own provider says it asks for tokens; of a chain that of its last step."""
    source = given.source
    provider = engine_of(source).provider if isinstance(source, TokenManager) else source
    endpoint: object = getattr(provider, "token_endpoint", None)
    with contextlib.suppress(ValueError):
        return URL(endpoint).origin() if isinstance(endpoint, str) else None
    return None
