"""What a `TokenManager` asks of a provider: one call to one token endpoint."""

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
"""What a token is, as RFC 7009 §2.1 calls it (``token_type_hint``)."""


def key_of(identity: str, *, tenant: str | None = None) -> str:
    """Return the key under which a shared store keeps a token: 64 hex digits.

    Args:
        identity: The `Provider.identity`, or the key of one.
        tenant: Which of a pool's tenants it belongs to; ``None``: to nobody in particular.
    """
    parts = (identity,) if tenant is None else (identity, tenant)
    # An identity is anybody's text, and may hold surrogates: Python reads bytes that are not text so. No encoded text
    # holds the byte 0xff, so no identity alone has the key of one with a tenant.
    return hashlib.sha256(b"\xff".join(each.encode(errors="surrogatepass") for each in parts)).hexdigest()


@runtime_checkable
class Provider(Protocol):
    """Knows one token endpoint. Holds no token, no state, no lock and no cache, and makes no retries.

    Besides the members below, a provider may have those of `ProviderOptions`. With `RequestContext` it tells its
    manager when it sent a request, and what must not be sent again.

    A provider of your own is a class with these four::

        class Acme:
            name = "acme"
            origins = ("https://api.acme.example",)
            identity = "acme https://api.acme.example/session account=me"

            async def fetch(self, http, previous):
                async with http.post("https://api.acme.example/session", json={...}, allow_redirects=False) as answer:
                    if answer.status in (400, 401, 403):
                        raise CredentialsRejected("Acme rejected the key", status=answer.status)
                    if answer.status != 200:
                        raise TokenEndpointUnavailable("Acme can't answer now", status=answer.status)
                    fields = await answer.json()
                return Token(fields["key"], expires_at=time.time() + fields["seconds"])
    """

    @property
    def name(self) -> str:
        """What errors, logs and ``status()`` call it."""
        ...

    @property
    def origins(self) -> Collection[str]:
        """Where its token may be sent, such as ``("https://api.example.com",)``."""
        ...

    @property
    def identity(self) -> str | None:
        """A string without secrets that differs wherever the token does; ``None`` = unknown (no shared store).

        Any string will do. That of the library's own providers is canonical JSON, with an upstream's nested in it.
        """
        ...

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        """Ask the endpoint for a token, once.

        Args:
            http: The session to use. It keeps no cookies.
            previous: The last token that was obtained, also when it is spent or was refused: its refresh token
                still counts. ``None`` = there was none.

        Returns:
            The token. Of its times only ``expires_at - issued_at`` counts.

        Raises:
            AuthError: No token could be had; the class says whether a retry makes sense.
        """
        ...


class DPoPProver(Protocol):
    """Makes the proofs that go with a token which is bound to a key (RFC 9449). Called from any thread."""

    def proof(self, method: str, url: URL, token: str | None = None) -> str:
        """Return the ``DPoP`` header of one request (RFC 9449 §4.2).

        Args:
            method: The request's.
            url: The request's. Query and fragment are not part of the proof.
            token: The access token that goes with it; ``None`` (default): none does, it is a token request.
        """
        ...

    def nonce(self, url: URL) -> str | None:
        """Return the nonce that the next proof for this server will have; ``None``: it will have none."""
        ...

    def note(self, url: URL, nonce: str | None) -> None:
        """Remember the nonce that a server gave for its next request (RFC 9449 §8.2); ``None``: it gave none."""
        ...


class ProviderOptions(Protocol):
    """What a `Provider` may have besides, with the value that each of these has where it is missing.

    A manager reads them once, when it is made. A class that has one of them need not inherit from this one; if it does,
    type checkers know the types::

        class Acme(ProviderOptions):
            name = "acme"
            deadline = 60.0
            ...

    Attributes:
        deadline: Seconds that one refresh may take, with all its tries; ``None`` (default): `RefreshPolicy.deadline`.
        needs_lock: Whether a refresh token is the only way to a token. With a shared store such a provider is asked
            under the store's lock or not at all, since two processes that send one refresh token lose both. Callers
            without a usable token wait for the lock until the deadline, and then get a `StoreError` or `LockTimeout`.
            Default ``False``: asked without the lock, a provider is given no refresh token, and uses its primary grant.
        prover: Makes the proofs for tokens that are bound to a key (DPoP, RFC 9449): an object with the methods
            ``proof``, ``nonce`` and ``note`` of `asyncauth.provider.DPoPProver`. ``None`` (default): they are bound to
            none.
        carried_as: Where API requests carry the token: ``"header:Authorization"`` (default, RFC 6750 §2.1), another
            header such as ``"header:X-Api-Token"``, a cookie such as ``"cookie:SESSION"``, or a query parameter such
            as ``"query:access_token"``. What the caller of a request puts there is never overridden. A query parameter
            is shown by the logs of servers and proxies (RFC 6750 §2.3, RFC 9700 §4.3.2), of which a manager warns once.
        scheme: What stands before the token in that header, such as ``"Token"``; ``""``: nothing. ``None`` (default):
            in ``Authorization`` the token's ``token_type``, in any other header nothing.
        token_endpoint: The URL of its token endpoint, without a query. In a `ManagerPool`, tenants with the same one
            learn from each other that it is down: one asks again, the others wait for its news. ``None`` (default):
            each asks by itself. Read before each refresh.
        insecure_hosts: Hosts to which its token may travel by plain http, exactly as URLs name them, without a port:
            for containers and meshes. A warning names each host once per process. Default: none but this machine.
        step: Its own name of its token request, such as ``"loginToken"``, where several providers with one ``name``
            make up a chain. Events, spans, metrics and log lines show it. ``None`` (default): it has none.
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
        """Have the server revoke one token (RFC 7009). A token that the server does not know counts as revoked.

        Args:
            http: The session to use. It keeps no cookies.
            token: The token's text. Secret.
            kind: Which of the two it is.

        Raises:
            AuthError: It could not be revoked; the class says whether a retry makes sense.
        """
        ...


class TokenSource(Protocol):
    """What another manager looks like to a provider that uses its token as a credential."""

    async def token(self) -> Token:
        """Return a usable token."""
        ...

    def invalidate(self, token: Token, *, repeat: bool = False) -> None:
        """Take note that this token was refused; ``repeat`` = it had just replaced another refused one."""
        ...

    def accepted(self, token: Token, *, repeat: bool = False) -> None:
        """Take note that this token was accepted; ``repeat`` = it had just replaced a refused one."""
        ...


@runtime_checkable
class Chained(Protocol):
    """A provider whose credential is another provider's token, and that leaves it to its manager to manage that."""

    def chained(self, manage: Callable[[Provider], TokenSource]) -> Provider:
        """Return the same provider with managers, made by ``manage``, in place of its upstream providers."""
        ...
