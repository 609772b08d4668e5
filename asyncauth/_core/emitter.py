"""Makes the events of a manager, logs them, and passes them to the listeners."""

from __future__ import annotations

import contextlib
import contextvars
from typing import TYPE_CHECKING, TypedDict, TypeVar

from asyncauth import events
from asyncauth._base.printable import name_of
from asyncauth._core.failures import WhileBlocked
from asyncauth._core.waiters import FlightOrphaned
from asyncauth.errors import AuthError
from asyncauth.expiry import finite
from asyncauth.provider import key_of
from asyncauth.telemetry.log import log

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from asyncauth._core.failures import FailureMemory
    from asyncauth._core.flight import Flight
    from asyncauth._core.runtime import Runtime
    from asyncauth.provider import Provider
    from asyncauth.status import State
    from asyncauth.token import Token

__all__ = ["Emitter"]

_T = TypeVar("_T")

_MOST_CALLERS = 128
"""The most contexts of callers that are kept: as many as a span may have links."""


class Emitter:
    """Reports one manager's events. Reporting never raises and never waits.

    One is made when there is an event to tell.

    Args:
        provider: The manager's.
        runtime: The manager's.
        tenant: The manager's key in its pool; ``None`` (default): it is in none.
        step: The provider's own name for its token request; ``None`` (default): it has none.
    """

    __slots__ = ("_provider", "_runtime", "_step", "_tenant")

    def __init__(self, provider: Provider, runtime: Runtime, tenant: Hashable = None, step: str | None = None) -> None:
        self._provider = provider
        self._runtime = runtime
        self._tenant = tenant
        self._step = step

    def refresh_started(self, state: State) -> None:
        """Report that a refresh has begun.

        Args:
            state: The token's state before.
        """
        self._tell(events.RefreshStarted(**self._stamp(), state=state))

    def refresh_succeeded(
        self,
        token: Token,
        *,
        adopted: bool,
        usable_for: float,
        seconds: float,
        waiters: int,
        callers: Sequence[contextvars.Context],
    ) -> None:
        """Report that a refresh obtained a token; for the arguments see `events.RefreshSucceeded`.

        Args:
            token: The new token.
            adopted: Whether another process obtained it.
            usable_for: In seconds; ``inf``: its lifetime is unknown.
            seconds: How long the refresh took.
            waiters: How many callers waited to the end.
            callers: Their contexts.
        """
        kind = events.TokenAdopted if adopted else events.RefreshSucceeded
        self._tell(
            kind(
                **self._stamp(),
                seconds=seconds,
                waiters=waiters,
                callers=tuple(callers),
                fingerprint=token.fingerprint,
                expires_at=token.expires_at,
                usable_for=finite(usable_for),
            )
        )

    def refresh_failed(
        self, error: BaseException, *, seconds: float, waiters: int, callers: Sequence[contextvars.Context]
    ) -> None:
        """Report that a refresh ended without a token; for the arguments see `refresh_succeeded`."""
        self._tell(
            events.RefreshFailed(
                **self._stamp(),
                seconds=seconds,
                waiters=waiters,
                callers=tuple(callers),
                error=type(error).__name__,
                # Only ours are known to hold no secret.
                message=str(error) if isinstance(error, AuthError) else "",
            )
        )

    def token_request_failed(
        self,
        error: AuthError,
        failure: FailureMemory,
        *,
        now: float,
        usable_for: float,
        waiting: int,
        waiting_for: float | None,
    ) -> None:
        """Report that a try failed, and any cool-down that follows.

        Args:
            error: The failure.
            failure: The memory of it.
            now: Seconds on the manager's monotonic clock.
            usable_for: Seconds for which the cached token is usable.
            waiting: How many callers wait.
            waiting_for: Seconds for which the first of them has waited; ``None``: nobody waits.
        """
        retry_in = max(0.0, failure.due(callers_wait=waiting_for is not None) - now)
        self._tell(
            events.TokenRequestFailed(
                **self._stamp(),
                error=type(error).__name__,
                message=str(error),
                status=error.status,
                upstream=error.upstream,
                retry_in=0.0 if failure.may_ask(now) else retry_in,
                usable_for=finite(max(0.0, usable_for)),
                waiting=waiting,
                waiting_for=waiting_for,
            )
        )
        if failure.while_blocked is WhileBlocked.FAIL:
            if failure.blocking_rejection is not None:
                self._tell(events.CoolDown(**self._stamp(), cause="credentials", seconds=retry_in))
            elif error.retry_after is not None:
                self._tell(events.CoolDown(**self._stamp(), cause="retry_after", seconds=retry_in))

    def token_rejected(self, token: Token, cooldown: float) -> None:
        """Report that the API answered 401 to the current token.

        Args:
            token: The token.
            cooldown: Seconds of the cool-down that begins, in which the token stays; 0.0: it was dropped.
        """
        self._tell(events.TokenRejected(**self._stamp(), fingerprint=token.fingerprint, dropped=cooldown == 0.0))
        if cooldown:
            self._tell(events.CoolDown(**self._stamp(), cause="refusals", seconds=cooldown))

    async def waiting_for(self, flight: Flight[_T]) -> _T:
        """Return a flight's result to a caller, and report how long the caller waited. Raises as `Flight.wait`."""
        if len(flight.callers) < _MOST_CALLERS:
            flight.callers.append(contextvars.copy_context())
        since = self._runtime.clock.monotonic()
        try:
            result = await flight.wait()
        except FlightOrphaned:
            raise
        except BaseException as error:
            self.request_waited(self._runtime.clock.monotonic() - since, error)
            raise
        self.request_waited(self._runtime.clock.monotonic() - since, None)
        return result

    def request_waited(self, seconds: float, error: BaseException | None) -> None:
        """Report that a caller had to wait.

        Args:
            seconds: For how long.
            error: The error that the caller got; ``None``: a token.
        """
        kind = None if error is None else type(error).__name__
        self._tell(events.RequestWaited(**self._stamp(), seconds=seconds, error=kind))

    def store_failed(self, trouble: str) -> None:
        """Report that the store cannot be used."""
        self._tell(events.StoreFailed(**self._stamp(), trouble=trouble))

    def store_recovered(self) -> None:
        """Report that the store works again."""
        self._tell(events.StoreRecovered(**self._stamp()))

    def refresh_token_unsaved(self, trouble: str, *, lost: bool) -> None:
        """Report that a new refresh token could not be saved; ``lost``: and that it will not be tried again."""
        self._tell(events.RefreshTokenUnsaved(**self._stamp(), trouble=trouble, lost=lost))

    def _stamp(self) -> _Stamp:
        try:
            name, identity = self._provider.name, self._provider.identity
        except Exception:  # noqa: BLE001 (a provider may be anybody's: no reason to have no token)
            name, identity = type(self._provider).__name__, None
        return {
            "provider": name_of(name),
            "account": _account_of(identity),
            "tenant": self._tenant,
            "step": self._step,
            "intermediate": self._runtime.intermediate,
            "at": self._runtime.clock.wall(),
        }

    def _tell(self, event: events.Event) -> None:
        with contextlib.suppress(Exception):  # a log filter may be anybody's
            log(event)
        self._runtime.listeners.tell(event)


def _account_of(identity: object) -> str | None:
    """Return the digits that distinguish a provider's account from others: see `events.Event`."""
    # The identity of a user's own provider may not be a string; it gets a token all the same.
    return key_of(identity)[:8] if isinstance(identity, str) else None


class _Stamp(TypedDict):
    """The fields of every event."""

    provider: str
    account: str | None
    tenant: Hashable
    step: str | None
    intermediate: bool
    at: float
