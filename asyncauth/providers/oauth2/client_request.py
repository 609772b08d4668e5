"""One token request of a client: its parameters, the client's authentication, the proof of its key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from asyncauth._core.try_state import current_try
from asyncauth.errors import AuthError, CredentialsRejected
from asyncauth.providers.oauth2.server_clock import ServerClock, difference
from asyncauth.providers.wire.endpoint import Endpoint, Request

if TYPE_CHECKING:
    from asyncauth.providers.oauth2.client_auth import Client, Proof
    from asyncauth.providers.oauth2.discovery import Issuer
    from asyncauth.providers.oauth2.dpop import Prover

__all__ = ["ClientRequest", "Fields"]

_UNAUTHORIZED = 401
_REJECTS_CLIENT = frozenset({None, "invalid_client", "unauthorized_client", "invalid_request"})
"""The error codes with which servers reject how a client authenticated."""

_REJECTS_ANOTHER = frozenset({"invalid_grant", "use_dpop_nonce", "invalid_dpop_proof"})
"""The error codes with which servers reject something else, even with status 401."""

Fields = Sequence[tuple[str, str]]

_OTHER_REASONS = frozenset(
    {
        "access_denied", "authorization_pending", "expired_token", "invalid_scope", "invalid_target", "slow_down",
        "unauthorized_client", "unsupported_grant_type", "use_dpop_nonce",
    }
)  # fmt: skip
"""Error codes that have nothing to do with a clock (RFC 6749 §5.2, RFC 8628 §3.5, RFC 8707 §2)."""


@attrs.define(repr=False, eq=False)
class ClientRequest:
    """A token request, built again for each sending, since assertions, proofs and nonces are valid only once.

    Attributes:
        endpoint: The endpoint that it goes to.
        client: The client that sends it.
        prover: Proves possession of the key that the token is to be bound to; ``None``: no key.
        server_clock: The clock for the times in assertions and proofs.
        issuer: The authorization server, as the audience of assertions; ``None``: the endpoint's URL is.
        fields: Makes the form's fields from the values of its credentials, except the client's; an error is returned,
            not raised.
        signs: Whether these fields contain an assertion that is signed for this request.
    """

    endpoint: Endpoint
    client: Client
    prover: Prover | None
    server_clock: ServerClock
    issuer: Issuer | None
    fields: Callable[..., Fields | AuthError]
    signs: bool
    _advice: str = attrs.field(default="", init=False)
    _nonce: str | None = attrs.field(default=None, init=False)

    def build(self, *values: str) -> Request | AuthError:
        """Return the request with these values of its credentials, the client's last, or the error in one."""
        own = len(values) - len(self.client.credentials)
        form = self.fields(*values[:own])
        if isinstance(form, AuthError):
            return form
        proof = self.client.constant or self._proof(values[own:])
        if isinstance(proof, AuthError):
            return proof
        self._advice, headers, made = proof.advice, proof.headers, proof.made
        if self.signs:  # the assertion of a provider that signs it itself (RFC 7523 §2.1)
            made = (*made, *(value for name, value in form if name == "assertion"))
        if self.prover is not None:
            self._nonce = self.prover.nonce(self.endpoint.url)
            key_proof = self.prover.proof(self.endpoint.method, self.endpoint.url)
            headers, made = {**headers, "DPoP": key_proof}, (*made, key_proof)
        return Request(headers=headers, form=(*form, *proof.fields), secrets=made)

    def _proof(self, values: tuple[str, ...]) -> Proof | AuthError:
        """Return the client's part, made for this request, or the error in the client's key."""
        if self.client.auth != "private_key_jwt":
            return self.client.proof(values)
        issuer = self.issuer
        return self.client.signed(
            values,
            audience=str(self.endpoint.url) if issuer is None else issuer.name,
            issued_at=self.server_clock.signing_time(current_try().clock),
            algorithms=None if issuer is None else issuer.says("token_endpoint_auth_signing_alg_values_supported"),
        )

    def note(self) -> None:
        """Remember the answer's nonce, if it has one."""
        if self.prover is not None:
            self.prover.note(self.endpoint.url, current_try().dpop_nonce)

    @property
    def _is_timed(self) -> bool:
        """Whether a part of it contains the time at which it was signed."""
        return self.signs or self.prover is not None or self.client.auth == "private_key_jwt"

    def is_to_blame(self, rejected: CredentialsRejected) -> bool:
        """Return whether a signing time may be the reason for a rejection."""
        return self._is_timed and rejected.error not in _OTHER_REASONS

    def note_clock(self) -> None:
        """Learn the server's clock from a server error: some servers fail on a time that they do not expect."""
        if self._is_timed:
            self.server_clock.learn()

    def should_retry(self, rejected: CredentialsRejected) -> bool:
        """Return whether sending it again, with a nonce or with the server's time, may succeed."""
        self.note()
        return self._has_other_nonce(rejected) or (self.is_to_blame(rejected) and self.server_clock.learn())

    def _has_other_nonce(self, rejected: CredentialsRejected) -> bool:
        """Return whether it was rejected for a missing nonce that it would have now (RFC 9449 §8)."""
        if self.prover is None or rejected.error != "use_dpop_nonce":
            return False
        return self._nonce != self.prover.nonce(self.endpoint.url)

    def advised(self, rejected: CredentialsRejected) -> CredentialsRejected:
        """Return a rejection with advice, if the client's authentication or its clock may be the reason."""
        code = rejected.error
        if code in _REJECTS_CLIENT or (rejected.status == _UNAUTHORIZED and code not in _REJECTS_ANOTHER):
            rejected.advice += self._advice
        clocks = difference() if self.is_to_blame(rejected) else None
        if clocks is not None:
            rejected.advice += f"; {clocks}"
        return rejected
