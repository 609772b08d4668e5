"""The device authorization grant: a person approves on another device (RFC 8628)."""

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
"""The assumed lifetime of a code in seconds, if the server violates the RFC and states none."""
_INTERVAL = 5.0
"""Seconds between polls if the server states none (RFC 8628 §3.2), and what ``slow_down`` adds (§3.5)."""
_LEAST_INTERVAL = 1.0
"""The fewest seconds between polls, whatever the server says: the shortest whole number in RFC 8628."""
_UNAUTHORIZED = 401
_LONGEST = sys.float_info.max


@attrs.frozen(kw_only=True)
class DevicePrompt:
    """What to show to a person who is to approve.

    Attributes:
        user_code: The code that the person enters.
        verification_uri: The page on which they enter it.
        verification_uri_complete: The same page's URL with the code, for a QR code; ``None``: the server has none.
        expires_in: Seconds in which they can approve.
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

    As long as the server returns refresh tokens, the person is asked only once. While the provider waits for the
    person, it holds no lock of a shared store.

    Args:
        show: A function, plain or ``async``, that is called with a `DevicePrompt` and shows it to the person.
        device_authorization_url: The endpoint that issues the codes; required with ``token_url``. ``None`` (default):
            the one in the issuer's metadata.
        deadline: Seconds that one refresh may take, with the wait for the person (default 900).
        client_id: The client's id.
        account: A name for the token's account, which a shared store needs (default ``None``).
        **options: The arguments that all grants share: see `OAuthOptions`.

    Raises:
        ConfigurationError: An argument is wrong; the message says which.
        TypeError: There is no such argument.
        InsecureTransport: Plain http to a host other than this machine.
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
            raise ConfigurationError(
                "device_authorization_url= is missing, the server's address for device codes",
                advice="give it, or issuer=",
            )
        # A number that is too large for a float would fail each refresh.
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
        credentials = (started.device_code, *self.credentials)
        while True:
            await clock.sleep(interval)
            try:
                return await self._ask(waiting, http, credentials, self._poll_fields, self._read)
            except InvalidTokenResponse as error:
                pending: AuthError = error.again()
                if not _is_client_error(error.status):
                    raise  # the server may have used up the code
            except (CredentialsRejected, TokenEndpointUnavailable) as error:
                pending = error.again()
            if not isinstance(pending, CredentialsRejected):  # nor does a firewall's page say anything about the person
                interval = max(2 * interval, pending.retry_after or 0.0)
            elif pending.error not in waiting.waits:
                pending.credential = None  # a new code is a new credential, but it must not shorten the cool-down
                # Nor must a callable's new secret: a person who declined is not asked again because of it.
                pending.may_change = pending.may_change and _client_rejected(pending)
                raise pending
            elif pending.error == "slow_down":
                interval += _INTERVAL
            if clock.monotonic() + interval >= ends_at:
                if not isinstance(pending, CredentialsRejected):
                    raise pending  # it is unknown whether the person approved
                raise endpoint.annotate(
                    CredentialsRejected(
                        "nobody approved in time", advice="show the code where somebody sees it", error="expired_token"
                    )
                )

    async def _start(self, endpoint: Endpoint, http: aiohttp.ClientSession) -> _Started:
        """Request a device code (RFC 8628 §3.1)."""
        url = self._device_url or await self._known_issuer.endpoint(http, "device_authorization_endpoint")
        there = attrs.evolve(endpoint, step="device_authorization", url=url)
        return await self._ask(there, http, self.to_send, self._fields, _started)

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
    """Return whether the server rejected the client's own credential, rather than the person declining."""
    return error.error == "invalid_client" or (error.error is None and error.status == _UNAUTHORIZED)


def _started(response: TokenResponse) -> _Started:
    """Return the device authorization in an answer (RFC 8628 §3.2)."""
    complete = response.fields.get("verification_uri_complete")
    uri = "verification_uri" if response.has("verification_uri") else "verification_url"  # Google's name for it
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
    """Return a field that will be shown to a person."""
    value = response.fields.get(name)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise InvalidTokenResponse(
            f"the answer has no {name!r} that can be shown", advice="check device_authorization_url="
        )
    return value
