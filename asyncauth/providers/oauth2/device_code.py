"""A person approves on another device (RFC 8628)."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Unpack

import attrs

from asyncauth import expiry
from asyncauth._core.request_context import current_request_context
from asyncauth._core.user_code import sanitize
from asyncauth._http.origin import absolute_url, insecure_hosts_of, require_secure
from asyncauth.errors import (
    AuthError,
    ConfigurationError,
    CredentialsRejected,
    InvalidTokenResponse,
    TokenEndpointUnavailable,
)
from asyncauth.providers.oauth2.oauth_options import Given, OAuthOptions, takes_options
from asyncauth.providers.oauth2.provider import Fields, OAuthProvider
from asyncauth.providers.wire.credential import Credential

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp
    from yarl import URL

    from asyncauth.providers.wire.endpoint import Endpoint
    from asyncauth.providers.wire.response import TokenResponse
    from asyncauth.token import Token

__all__ = ["DeviceCode", "DevicePrompt"]

_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_EXPIRES_IN = 600.0
"""Seconds that a code is taken to live where the server does not say, which it must."""
_INTERVAL = 5.0
"""Seconds between polls where the server names none (RFC 8628 §3.2), and what ``slow_down`` adds (§3.5)."""
_LEAST_INTERVAL = 1.0
"""Minimum seconds between polls, whatever the server says: the shortest interval in the whole seconds of RFC 8628."""
_UNAUTHORIZED = 401
_LONGEST = sys.float_info.max


@attrs.frozen(kw_only=True)
class DevicePrompt:
    """What a person needs in order to approve.

    Attributes:
        user_code: What they type.
        verification_uri: Where they type it.
        verification_uri_complete: The same with the code in it, for a QR code; ``None`` = the server has none.
        expires_in: Seconds that they have.
    """

    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_in: float


@attrs.frozen(repr=False)
class _Started:
    """A device authorization: the prompt, and how to poll for its outcome."""

    prompt: DevicePrompt
    device_code: Credential
    interval: float


class DeviceCode(OAuthProvider):
    """The device authorization grant: a person approves in a browser, perhaps on another device (RFC 8628).

    ::

        DeviceCode(issuer="https://login.example.com", client_id="cli", scope="offline_access", show=print)

    They are asked once for as long as the server gives refresh tokens. While they are being waited for no lock of a
    shared store is held.

    Args:
        show: Called with a `DevicePrompt`, which it shows to the person; may be async.
        device_authorization_url: Where the codes come from; needed with ``token_url``.
        deadline: Seconds that one refresh may take, the person's time included (default: 900).
        client_id: The client's.
        account: A name for whose token it is, so that a shared store can keep it.
        **options: What all grants take: see `OAuthOptions`.

    Raises:
        ConfigurationError: An argument can't work; the message says which.
        TypeError: There is no such argument.
        InsecureTransport: Plain http to a host that is not this machine.
    """

    name: str = "device-code"

    @takes_options
    def __init__(
        self,
        *,
        show: Callable[[DevicePrompt], object],
        device_authorization_url: str | URL | None = None,
        deadline: float = 900.0,
        client_id: str,
        account: str | None = None,
        **options: Unpack[OAuthOptions],
    ) -> None:
        given = Given.of(self, options)
        if not callable(show):
            raise ConfigurationError("show takes a function that shows a DevicePrompt to a person, such as print")
        if given.issuer is None and given.token_url is not None and device_authorization_url is None:
            raise ConfigurationError("device_authorization_url= is missing, the server's address for device codes")
        # A number that no float can hold would fail each refresh.
        if isinstance(deadline, bool) or not isinstance(deadline, (int, float)) or not 0 < deadline <= _LONGEST:
            raise ConfigurationError("deadline takes a positive number of seconds")
        self._show = show
        self._device_url = None
        if device_authorization_url is not None:
            self._device_url = absolute_url(device_authorization_url, "device_authorization_url", query=True)
            hosts = insecure_hosts_of(given.insecure_hosts)
            require_secure(self._device_url, "device_authorization_url", hosts)
        self.deadline = deadline
        self._set_up(given, client_id=client_id, whose={"account": account})

    async def _grant(self, endpoint: Endpoint, http: aiohttp.ClientSession) -> Token:
        context = current_request_context()
        started = await self._start(endpoint, http)
        await context.release_lock()
        await self._prompt(started.prompt)
        clock, life = context.clock, started.prompt.expires_in
        interval = max(_LEAST_INTERVAL, min(started.interval, life))
        ends_at = clock.monotonic() + life
        waiting = attrs.evolve(endpoint, waits=frozenset({"authorization_pending", "slow_down"}))
        while True:
            await clock.sleep(interval)
            try:
                return await self._ask(waiting, http, (started.device_code,), self._poll_fields, self._read)
            except InvalidTokenResponse as error:
                pending: AuthError = error.again()
                if not _is_client_error(error.status):
                    raise  # it may have used the code up
            except (CredentialsRejected, TokenEndpointUnavailable) as error:
                pending = error.again()
            if not isinstance(pending, CredentialsRejected):  # a firewall's page says nothing of the person, either
                interval = max(2 * interval, pending.retry_after or 0.0)
            elif pending.error not in waiting.waits:
                pending.credential = None  # a new code is not a new answer: the manager's patience grows all the same
                # No new secret is one either: a person who said no is not asked again for a callable's sake.
                pending.may_change = pending.may_change and _client_rejected(pending)
                raise pending
            elif pending.error == "slow_down":
                interval += _INTERVAL
            if clock.monotonic() + interval >= ends_at:
                if not isinstance(pending, CredentialsRejected):
                    raise pending  # nobody can say whether somebody approved
                raise endpoint.annotate(CredentialsRejected("nobody approved in time", error="expired_token"))

    async def _start(self, endpoint: Endpoint, http: aiohttp.ClientSession) -> _Started:
        """Ask for a device code (RFC 8628 §3.1)."""
        url = self._device_url or await self._known_issuer.endpoint(http, "device_authorization_endpoint")
        there = attrs.evolve(endpoint, step="device_authorization", url=url)
        return await self._ask(there, http, (), self._parameters.fields, _started)

    async def _prompt(self, prompt: DevicePrompt) -> None:
        try:
            shown = self._show(prompt)
            if inspect.isawaitable(shown):
                await shown
        except Exception as error:  # noqa: BLE001 (a user's code may raise anything)
            problem = sanitize(error, "the show callable")
        else:
            return
        raise problem

    @staticmethod
    def _poll_fields(device_code: str) -> Fields:
        return (("grant_type", _GRANT), ("device_code", device_code))


def _is_client_error(status: int | None) -> bool:
    return status is not None and 400 <= status < 500  # noqa: PLR2004


def _client_rejected(error: CredentialsRejected) -> bool:
    """Return whether it is the client's own credential that was refused, and not a person who did."""
    return error.error == "invalid_client" or (error.error is None and error.status == _UNAUTHORIZED)


def _started(response: TokenResponse) -> _Started:
    """Return what a device authorization's answer says (RFC 8628 §3.2)."""
    complete = response.fields.get("verification_uri_complete")
    uri = "verification_uri" if response.has("verification_uri") else "verification_url"  # Google's spelling
    prompt = DevicePrompt(
        user_code=_shown(response, "user_code"),
        verification_uri=_shown(response, uri),
        verification_uri_complete=_shown(response, "verification_uri_complete") if isinstance(complete, str) else None,
        expires_in=min(response.durations("expires_in"), default=_EXPIRES_IN),
    )
    interval = (
        expiry.duration(response.fields["interval"], "interval") if response.fields.get("interval") else _INTERVAL
    )
    return _Started(prompt, Credential(response.text("device_code"), "device_code"), interval)


def _shown(response: TokenResponse, name: str) -> str:
    """Return a field that a person is going to see."""
    value = response.fields.get(name)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise InvalidTokenResponse(f"the answer has no {name!r} that can be shown")
    return value
