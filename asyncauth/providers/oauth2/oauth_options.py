"""The arguments that all grants share: declared and documented once, taken so that no frame shows a secret."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, cast

import attrs

from asyncauth._http.carrier import IN_AUTHORIZATION
from asyncauth.providers.wire.credential import Credential, CredentialLike

if TYPE_CHECKING:
    from yarl import URL

    from asyncauth.providers.wire.answer_fields import AnswerFields
    from asyncauth.providers.wire.error_fields import ErrorFields

__all__ = ["ClientAuth", "Given", "OAuthOptions", "Secrets", "Several", "takes_options"]

ClientAuth = Literal["client_secret_basic", "client_secret_basic_raw", "client_secret_post", "private_key_jwt", "none"]
Several = str | Iterable[str]

_Init = TypeVar("_Init", bound=Callable[..., None])


class OAuthOptions(TypedDict, total=False):
    """The keyword arguments that all grants share. Each of them is optional.

    For a function of your own that passes them on: ``def reports(**options: Unpack[OAuthOptions])``.

    Attributes:
        token_url: The token endpoint. It may have a query.
        issuer: Instead: the authorization server's identifier, by which its metadata tells the endpoint (RFC 8414,
            OpenID Connect Discovery). With both, nothing is discovered, and client assertions are made out to it.
        revocation_url: The endpoint for `TokenManager.revoke` (RFC 7009). ``None`` (default): as the issuer's metadata
            says; without ``issuer``, tokens can't be revoked.
        client_secret: The client's secret, a callable that returns it, or what else a credential can be. ``None``
            (default): the client is public.
        client_auth: How the client authenticates: ``"client_secret_basic"`` (default; id and secret are percent-encoded
            first, RFC 6749 §2.3.1), ``"client_secret_basic_raw"`` (they are not, for servers that do not decode them),
            ``"client_secret_post"``, ``"private_key_jwt"`` (RFC 7523; extra ``jwt``) or ``"none"``.
        client_assertion_audience: For ``"private_key_jwt"``: the assertion's audience (``aud``). ``None`` (default):
            ``issuer``, else the token endpoint's URL. Some servers that have an issuer accept only the latter.
        private_key: For ``"private_key_jwt"``: PEM without a passphrase, or a JWK as JSON.
        key_id: What the server knows that key as (``kid``). ``None`` (default): as the JWK says.
        algorithm: How it signs (``alg``). ``None`` (default): as the JWK says, else the usual one of its kind (RS256,
            ES256 …).
        scope: What the token shall allow: a string, or several. ``None`` (default): the server decides.
        audience: For whom the token shall be, by name: a string, or several.
        resource: For whom the token shall be, by URI (RFC 8707): a string, or several.
        extra: Further form fields, as some servers have them.
        origins: Where the token may be sent, such as ``"https://api.example.com"``. ``None`` (default): nowhere;
            `BearerAuth` needs it.
        carried_as: Where API requests carry the token: ``"header:Authorization"`` (default), another header
            (``"header:X-Api-Token"``), a cookie (``"cookie:SESSION"``) or a query parameter (``"query:access_token"``,
            which the logs of servers and proxies show). See `ProviderOptions`. Not with ``dpop``.
        scheme: What stands before the token in that header, such as ``"Zoho-oauthtoken"``; ``""``: nothing. ``None``
            (default): ``Bearer`` in ``Authorization``, nothing in any other header. Not with ``dpop``.
        insecure_hosts: Hosts to which plain http may go, exactly as URLs name them, without a port: for containers and
            meshes, such as ``("sandbox",)``. Default: none but this machine.
        answer: Where the answer has its fields, if not where RFC 6749 §5.1 says (`AnswerFields`). ``None`` (default):
            there.
        errors: How the server tells of failures, if the common rules misread it (`ErrorFields`). ``None`` (default):
            they do not.
        dpop: Whether to bind the token to a key (RFC 9449; extra ``jwt``). Without ``dpop_key`` to a new one. Default:
            ``False``.
        dpop_key: The key to bind it to, as ``private_key``. Processes that share a store need the same one.
        dpop_algorithm: How that key signs (``alg``), such as ``"EdDSA"``. ``None`` (default): as ``algorithm``; of an
            Ed25519 key, which has two names, the one that the issuer's metadata says.
    """

    token_url: str | URL | None
    issuer: str | None
    revocation_url: str | URL | None
    client_secret: CredentialLike | None
    client_auth: ClientAuth
    client_assertion_audience: str | None
    private_key: CredentialLike | None
    key_id: str | None
    algorithm: str | None
    scope: Several | None
    audience: Several | None
    resource: Several | None
    extra: Mapping[str, str] | None
    origins: str | Iterable[str] | None
    carried_as: str
    scheme: str | None
    insecure_hosts: str | Iterable[str] | None
    answer: AnswerFields | None
    errors: ErrorFields | None
    dpop: bool
    dpop_key: str | None
    dpop_algorithm: str | None


@attrs.frozen(repr=False)
class Secrets:
    """A client's secret arguments. Made of them at once, so that no frame needs to keep one that could be shown.

    Attributes:
        secret: ``client_secret=``.
        key: ``private_key=``.
        dpop_key: ``dpop_key=``.
    """

    secret: Credential | None
    key: Credential | None
    dpop_key: Credential | None

    @classmethod
    def of(
        cls, client_secret: CredentialLike | None, private_key: CredentialLike | None, dpop_key: str | None
    ) -> Secrets:
        """Return them, each ``None`` if it is."""
        return cls(
            None if client_secret is None else Credential(client_secret, "client_secret"),
            None if private_key is None else Credential(private_key, "private_key", multiline=True),
            None if dpop_key is None else Credential(dpop_key, "dpop_key", multiline=True),
        )


@attrs.frozen(kw_only=True, repr=False)
class Given:
    """The shared arguments that one provider was given, or their defaults. See `OAuthOptions`.

    Its repr shows none of them: the secrets stand in credentials, and a key may stand in the query of an address.
    """

    secrets: Secrets
    token_url: str | URL | None = None
    issuer: str | None = None
    revocation_url: str | URL | None = None
    client_auth: ClientAuth = "client_secret_basic"
    client_assertion_audience: str | None = None
    key_id: str | None = None
    algorithm: str | None = None
    scope: Several | None = None
    audience: Several | None = None
    resource: Several | None = None
    extra: Mapping[str, str] | None = None
    origins: str | Iterable[str] | None = None
    carried_as: str = IN_AUTHORIZATION
    scheme: str | None = None
    insecure_hosts: str | Iterable[str] | None = None
    answer: AnswerFields | None = None
    errors: ErrorFields | None = None
    dpop: bool = False
    dpop_algorithm: str | None = None

    @classmethod
    def of(cls, provider: object, options: OAuthOptions) -> Given:
        """Move the arguments out of a constructor's ``**options``, which is empty from here on.

        Called in a constructor once its own secrets are deleted, and before anything can raise: so no frame that an
        error passes through shows a secret.

        Raises:
            TypeError: There is no such argument; the message names the closest one.
        """
        moved = dict[str, Any](options)
        cast("dict[str, Any]", options).clear()
        unknown = sorted(moved.keys() - OAuthOptions.__annotations__.keys())
        secrets = Secrets.of(*(moved.pop(name, None) for name in _SECRETS))
        if not unknown:
            return cls(secrets=secrets, **moved)
        del moved
        raise TypeError(_no_such_argument(type(provider), unknown[0]))


_SECRETS = ("client_secret", "private_key", "dpop_key")
_DEFAULTS: dict[str, object] = {
    **dict.fromkeys(_SECRETS),
    **{field.name: field.default for field in attrs.fields(Given) if field.name != "secrets"},
}


def _no_such_argument(provider: type, name: str) -> str:
    """Return what to say to a caller who gave an argument that a provider does not take."""
    names = list(inspect.signature(provider).parameters)
    closest = difflib.get_close_matches(name, names, 1)
    hint = f": did you mean {closest[0]}=?" if closest else f": it takes {', '.join(names)}"
    return f"{provider.__name__} takes no argument {name!r}{hint}"


def takes_options(init: _Init) -> _Init:
    """Spell out ``**options`` in the signature of a constructor, for `inspect.signature` and what is built on it."""
    signature = inspect.signature(init)
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    shared = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS[name], annotation=hint.__forward_arg__
        )
        for name, hint in OAuthOptions.__annotations__.items()
    ]
    spelled: Any = init
    spelled.__signature__ = signature.replace(parameters=[*own, *shared])
    return init
