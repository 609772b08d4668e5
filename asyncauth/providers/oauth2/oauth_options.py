"""The arguments that all grants share: declared and documented once, and moved so that no frame shows a secret."""

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
        token_url: The token endpoint's URL. It may have a query.
        issuer: In place of ``token_url``: the authorization server's identifier. The token endpoint is read from its
            metadata (RFC 8414, OpenID Connect Discovery). If both are given, nothing is discovered, and client
            assertions have the issuer as their audience.
        revocation_url: The endpoint for `TokenManager.revoke` (RFC 7009). ``None`` (default): the one in the issuer's
            metadata; without ``issuer``, tokens can't be revoked.
        client_secret: The client's secret: a string, a callable that returns it, or another kind of credential.
            ``None`` (default): the client is public.
        client_auth: How the client authenticates. ``"client_secret_basic"`` (default): id and secret are
            percent-encoded first (RFC 6749 §2.3.1). ``"client_secret_basic_raw"``: they are not, for servers that do
            not decode them. Or ``"client_secret_post"``, ``"private_key_jwt"`` (RFC 7523; extra ``jwt``), ``"none"``.
        client_assertion_audience: For ``"private_key_jwt"``: the assertion's audience (``aud``). ``None`` (default):
            ``issuer``, or without it the token endpoint's URL. Some servers with an issuer accept only the token
            endpoint's URL.
        private_key: For ``"private_key_jwt"``: PEM without a passphrase, or a JWK as JSON.
        key_id: That key's id at the server (``kid``). ``None`` (default): the JWK's.
        algorithm: That key's signature algorithm (``alg``). ``None`` (default): the JWK's, or the usual one for the
            kind of key (RS256, ES256, …).
        scope: The requested scope: a string, or several. ``None`` (default): the server decides.
        audience: The requested audience, by name: a string, or several. ``None`` (default): none.
        resource: The requested audience, by URI (RFC 8707): a string, or several. ``None`` (default): none.
        extra: Other form fields, which some servers require. ``None`` (default): none.
        origins: Where the token may be sent, such as ``"https://api.example.com"``. ``None`` (default): nowhere;
            `BearerAuth` needs it.
        carried_as: Where API requests carry the token: ``"header:Authorization"`` (default), another header
            (``"header:X-Api-Token"``), a cookie (``"cookie:SESSION"``) or a query parameter (``"query:access_token"``,
            which the logs of servers and proxies show). See `ProviderOptions`. Not with ``dpop``.
        scheme: The text before the token in that header, such as ``"Zoho-oauthtoken"``; ``""``: none. ``None``
            (default): ``Bearer`` in ``Authorization``, none in any other header. Not with ``dpop``.
        insecure_hosts: Hosts to which plain http may go, exactly as URLs name them, without a port: for containers and
            meshes, such as ``("sandbox",)``. Default: only this machine.
        answer: Where the answer has its fields (`AnswerFields`). ``None`` (default): as in RFC 6749 §5.1.
        errors: How the server reports failures (`ErrorFields`). ``None`` (default): by the common rules.
        dpop: Whether to bind the token to a key (RFC 9449; extra ``jwt``): to ``dpop_key``, or without it to a new one
            (default ``False``).
        dpop_key: The key to bind it to, in the form of ``private_key``. Processes that share a store need the same key.
        dpop_algorithm: That key's signature algorithm (``alg``), such as ``"EdDSA"``. ``None`` (default): as for
            ``algorithm``; for an Ed25519 key, whose algorithm has two names, the name in the issuer's metadata.
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
    """A client's secret arguments. They are wrapped at once, so that no frame keeps one that could be shown.

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
        """Return the three secrets; each is ``None`` if its argument is."""
        return cls(
            None if client_secret is None else Credential(client_secret, "client_secret"),
            None if private_key is None else Credential(private_key, "private_key", multiline=True),
            None if dpop_key is None else Credential(dpop_key, "dpop_key", multiline=True),
        )


@attrs.frozen(kw_only=True, repr=False)
class Given:
    """One provider's shared arguments, or their defaults. See `OAuthOptions`.

    Its repr shows none of them: the secrets are in credentials, and an address' query may contain a key.
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
        """Move the arguments out of a constructor's ``**options``, which is empty afterwards.

        Constructors call this when their own secrets are deleted, and before anything can raise. So no frame that an
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
    """Return the error text for an argument that a provider does not take."""
    names = list(inspect.signature(provider).parameters)
    closest = difflib.get_close_matches(name, names, 1)
    hint = f": did you mean {closest[0]}=?" if closest else f": it takes {', '.join(names)}"
    return f"{provider.__name__} takes no argument {name!r}{hint}"


def takes_options(init: _Init) -> _Init:
    """List ``**options`` one by one in a constructor's signature, for `inspect.signature` and the tools that use it."""
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
