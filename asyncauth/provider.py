"""The protocols of a provider: how a `TokenManager` asks one token endpoint for a token."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import aiohttp
    from yarl import URL

    from asyncauth.token import Token

__all__ = [
    "Chained",
    "DPoPProver",
    "Provider",
    "ProviderOptions",
    "RevokingProvider",
    "TokenKind",
    "TokenSource",
    "key_of",
]

TokenKind: TypeAlias = Literal["refresh_token", "access_token"]
"""The kind of a token, in the words of RFC 7009 §2.1 (``token_type_hint``)."""


def key_of(identity: str, *, tenant: str | None = None) -> str:
    """Return the key under which a shared store keeps a token: 64 hex digits.

    Args:
        identity: The `Provider.identity`, or the key of one.
        tenant: The tenant of a pool that the token belongs to; ``None`` (default): no tenant.
    """
    parts = (identity,) if tenant is None else (identity, tenant)
    # An identity is a user's text, and may hold surrogates, as Python decodes bytes that are not text. No encoded text
    # holds the byte 0xff, so an identity without a tenant never has the key of one with a tenant.
    return hashlib.sha256(b"\xff".join(each.encode(errors="surrogatepass") for each in parts)).hexdigest()


@runtime_checkable
class Provider(Protocol):
    """Asks one token endpoint for a token. Holds no token, state, lock or cache, and does not retry.

    A provider may also have the members of `ProviderOptions`. With `RequestContext`, it tells its manager when it sent
    a request, and what must not be sent again.

    A provider of your own is a class with these four members::

        class Acme:
            name = "acme"
            origins = ("https://api.acme.example",)
            identity = "acme https://api.acme.example/session account=me"

            async def fetch(self, http, previous):
                async with http.post("https://api.acme.example/session", json={...}, allow_redirects=False) as answer:
                    if answer.status in (400, 401, 403):
                        raise CredentialsRejected("Acme rejected the key", status=answer.status)
                    if answer.status != 200:
                        raise TokenEndpointUnavailable("Acme cannot answer now", status=answer.status)
                    fields = await answer.json()
                return Token(fields["key"], expires_at=time.time() + fields["seconds"])
    """

    @property
    def name(self) -> str:
        """The name that errors, logs and ``status()`` show."""
        ...

    @property
    def origins(self) -> Collection[str]:
        """The origins that its token may be sent to, such as ``("https://api.example.com",)``."""
        ...

    @property
    def identity(self) -> str | None:
        """A string without secrets that differs wherever the token does; ``None``: unknown, so no store can be used.

        Any string will do. The library's own providers use canonical JSON, in which an upstream's identity is nested.
        """
        ...

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        """Ask the endpoint for a token, once.

        Runs in the refresh's own task, which is cancelled at the deadline and when the manager is closed: let
        ``CancelledError`` pass, and do not cancel the current task.

        Args:
            http: The session to use. It keeps no cookies.
            previous: The last token that was obtained, even if it is spent or got an API 401: its refresh token may
                still work. ``None``: there was none.

        Returns:
            The token. Of its times, only ``expires_at - issued_at`` matters.

        Raises:
            AuthError: No token could be obtained; the class says whether a retry can succeed.
        """
        ...


class DPoPProver(Protocol):
    """Makes the proofs for tokens that are bound to a key (RFC 9449). Its methods are called from any thread."""

    def proof(self, method: str, url: URL, token: str | None = None) -> str:
        """Return the ``DPoP`` header of one request (RFC 9449 §4.2).

        Args:
            method: The request's method.
            url: The request's URL. The proof leaves out query and fragment.
            token: The access token that the request carries; ``None`` (default): none, it is a token request.
        """
        ...

    def nonce(self, url: URL) -> str | None:
        """Return the nonce for the next proof to this server; ``None``: no nonce."""
        ...

    def note(self, url: URL, nonce: str | None) -> None:
        """Remember the nonce that a server gave for its next request (RFC 9449 §8.2); ``None``: it gave none."""
        ...


class ProviderOptions(Protocol):
    """The optional members of a `Provider`, with their defaults.

    A manager reads them once, when it is made. A class that has one of them need not inherit from this one; if it does,
    type checkers know the types::

        class Acme(ProviderOptions):
            name = "acme"
            deadline = 60.0
            ...

    Attributes:
        deadline: Seconds that one refresh may take, with all its tries; ``None`` (default): `RefreshPolicy.deadline`.
        needs_lock: Whether a refresh token is the only way to obtain a token. With a shared store, the manager asks
            such a provider only under the store's lock, since two processes that send the same refresh token lose both.
            Callers without a usable token wait for the lock until the deadline, and then receive a `StoreError` or
            `LockTimeout`. Default ``False``: without the lock, the manager passes no refresh token, and the provider
            uses its primary grant.
        prover: Makes the proofs for tokens that are bound to a key (DPoP, RFC 9449): an object with the methods
            ``proof``, ``nonce`` and ``note`` of `asyncauth.provider.DPoPProver`. ``None`` (default): the tokens are not
            bound to a key.
        carried_as: Where API requests carry the token: ``"header:Authorization"`` (default, RFC 6750 §2.1), another
            header such as ``"header:X-Api-Token"``, a cookie such as ``"cookie:SESSION"``, or a query parameter such as
            ``"query:access_token"``. A value that the caller of a request puts there is never overridden. Logs of
            servers and proxies show query parameters (RFC 6750 §2.3, RFC 9700 §4.3.2), so a manager warns once.
        scheme: The text before the token in that header, such as ``"Token"``; ``""``: none. ``None`` (default): in
            ``Authorization`` the token's ``token_type``, in any other header none.
        token_endpoint: The URL of its token endpoint, without a query. In a `ManagerPool`, when an endpoint is down,
            one of its tenants tries again, and the others wait for the result. ``None`` (default): each tenant tries
            for itself. Read before each refresh.
        insecure_hosts: Hosts to which its token may be sent by plain http, exactly as URLs name them, without a port:
            for containers and meshes. A warning names each host once per process. Default: only this machine.
        step: Its own name for its token request, such as ``"loginToken"``, where several providers with the same
            ``name`` form a chain. Events, spans, metrics and log lines show it. ``None`` (default): no name.
    """

    deadline: float | None = None
    needs_lock: bool = False
    prover: DPoPProver | None = None
    carried_as: str = "header:Authorization"
    scheme: str | None = None
    token_endpoint: str | None = None
    insecure_hosts: Collection[str] = ()
    step: str | None = None


@runtime_checkable
class RevokingProvider(Protocol):
    """A provider whose server revokes tokens. `TokenManager.revoke` calls it, once per token."""

    async def revoke(self, http: aiohttp.ClientSession, token: str, kind: TokenKind, /) -> None:
        """Ask the server to revoke one token (RFC 7009). A token that the server does not know counts as revoked.

        Args:
            http: The session to use. It keeps no cookies.
            token: The token's text. Secret.
            kind: The token's kind.

        Raises:
            AuthError: It could not be revoked; the class says whether a retry can succeed.
        """
        ...


class TokenSource(Protocol):
    """A manager, as seen by a provider that uses the manager's token as its credential."""

    async def token(self) -> Token:
        """Return a usable token."""
        ...

    def invalidate(self, token: Token, *, repeat: bool = False) -> None:
        """Record that this token got a 401; ``repeat``: it had just replaced another token that got one."""
        ...

    def accepted(self, token: Token, *, repeat: bool = False) -> None:
        """Record that this token was accepted; ``repeat``: it had just replaced a token that got a 401."""
        ...


@runtime_checkable
class Chained(Protocol):
    """A provider whose credential is another provider's token, which a separate manager keeps fresh."""

    def chained(self, manage: Callable[[Provider], TokenSource]) -> Provider:
        """Return the same provider with managers, made by ``manage``, in place of its upstream providers."""
        ...
