"""A provider's credentials: a string, a callable that returns one, or another manager's token."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeGuard

import attrs

from asyncauth._core.try_state import SentCredential
from asyncauth._core.user_code import sanitize
from asyncauth.errors import AuthError, ConfigurationError
from asyncauth.provider import Provider, TokenSource
from asyncauth.token import Token, digest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import aiohttp

__all__ = ["Credential", "CredentialLike", "ResolvedCredentials", "constant", "resolve"]

_SOURCE = "look at where it comes from"

CredentialLike: TypeAlias = "str | Callable[[], str | Awaitable[str]] | TokenSource | Provider | Credential"


def _is_source(value: object) -> TypeGuard[TokenSource]:
    """Recognise a manager by its methods: this module must not import it."""
    return all(callable(getattr(value, name, None)) for name in ("token", "invalidate", "accepted"))


class Credential:
    """One credential of a provider. Its repr shows its kind, never its value.

    Args:
        value: A ``str``; a callable, plain or ``async``, that returns one; another manager; or another provider, for
            which the manager that uses it makes a manager.
        name: The argument's name (``"password"``), for errors.
        bearer: Whether it is sent in a header after a scheme, so that only visible ASCII characters are valid (default
            ``False``).
        header: Whether it is a header's value, in which blanks are valid, too (default ``False``).
        multiline: Whether line breaks are part of it, as in a PEM file. Such a credential is never sent (default
            ``False``).

    Attributes:
        source: The given value; of another credential, that one's. May be a secret.

    The constructor never raises. A provider first deletes its own argument and then calls `check`, so that no frame
    which an error passes through has a secret in a local variable.
    """

    __slots__ = ("bearer", "header", "multiline", "name", "source")

    def __init__(
        self, value: CredentialLike, name: str, *, bearer: bool = False, header: bool = False, multiline: bool = False
    ) -> None:
        self.name = name
        self.bearer = bearer
        self.header = header
        self.multiline = multiline
        self.source: str | Callable[[], str | Awaitable[str]] | TokenSource | Provider = (
            value.source if isinstance(value, Credential) else value
        )

    def check(self) -> None:
        """Raise if the value is wrong.

        Raises:
            ConfigurationError: It is of another type, empty, or can't be sent.
        """
        if isinstance(self.source, str):
            flaw = self._flaw(self.source)
            if flaw is not None:
                says, advice = flaw
                raise ConfigurationError(f"{self.name} {says}", advice=advice)
        elif not (_is_source(self.source) or isinstance(self.source, Provider) or callable(self.source)):
            kind = type(self.source).__name__
            raise ConfigurationError(
                f"{self.name} takes a str, a callable that returns one, or a TokenManager, not {kind}",
                advice="is an environment variable unset?" if kind == "NoneType" else "",
            )

    @property
    def constant(self) -> str | None:
        """The value, if it is a string. Secret."""
        return self.source if isinstance(self.source, str) else None

    @property
    def provider(self) -> Provider | None:
        """The upstream provider; ``None``: the value is not a provider."""
        return self.source if isinstance(self.source, Provider) else None

    @property
    def identity(self) -> str | None:
        """The upstream's identity; ``None``: there is no upstream, or it has none."""
        if isinstance(self.source, str):
            return None
        identity = getattr(self.source, "identity", None)
        return identity if isinstance(identity, str) else None

    def managed(self, manage: Callable[[Provider], TokenSource]) -> Credential:
        """Return the credential with a manager in place of an upstream provider."""
        provider = self.provider
        return self if provider is None else self._of(manage(provider))

    def _of(self, value: CredentialLike) -> Credential:
        return Credential(value, self.name, bearer=self.bearer, header=self.header, multiline=self.multiline)

    async def resolve(self, http: aiohttp.ClientSession) -> tuple[str, TokenSource | None, Token | None]:
        """Return the current value, and the manager and token that it came from, if any.

        Raises:
            AuthError: It could not be obtained. For an error of an upstream manager, ``upstream`` is set.
            ConfigurationError: A callable returned something that can't be a credential.
        """
        source = self.source
        if isinstance(source, str):
            return source, None, None
        if _is_source(source):
            token = await _upstream(source.token())
            return token.value, source, token
        if isinstance(source, Provider):  # a provider that is used without a manager
            return (await _upstream(source.fetch(http, None))).value, None, None
        value = await self._call(source)
        flaw = self._flaw(value)
        if flaw is None:
            return value, None, None
        del value
        says, advice = flaw
        raise ConfigurationError(f"the value that the {self.name} callable returned {says}", advice=advice)

    @property
    def may_change(self) -> bool:
        """Whether a callable supplies it, so that the next value may differ."""
        return not (isinstance(self.source, str) or _is_source(self.source) or isinstance(self.source, Provider))

    async def _call(self, function: Any) -> Any:
        try:
            value = function()
            return await value if inspect.isawaitable(value) else value
        except Exception as error:  # noqa: BLE001 (user code may raise anything)
            problem = sanitize(error, f"the {self.name} callable")
        raise problem

    def _flaw(self, value: object) -> tuple[str, str] | None:
        """Return the flaw of a value, without the value, and what to do; ``None``: it has none."""
        if not isinstance(value, str):
            return f"is {type(value).__name__}, not str", _SOURCE
        if not value:
            return "is empty", _SOURCE
        if (self.bearer or self.header) and value != value.strip():
            return "begins or ends with white space", "strip() it"
        least = "\x21" if self.bearer else "\x20"
        if (self.bearer or self.header) and not all(least <= char <= "\x7e" for char in value):
            return "holds characters that can't travel in a header", _SOURCE
        if not self.multiline and any(char in "\r\n\0" or "\ud800" <= char <= "\udfff" for char in value):
            return "holds a line break or another character that can't be sent", "strip() it"
        return None

    def __repr__(self) -> str:
        value = self.source
        if isinstance(value, str):
            return f"<{self.name}: str>"
        return f"<{self.name}: {value!r}>" if _is_source(value) else f"<{self.name}: {type(value).__name__}>"

    def __reduce__(self) -> NoReturn:
        msg = "a credential cannot be pickled: make the provider in the process that uses it"
        raise TypeError(msg)


async def _upstream(token: Awaitable[Token]) -> Token:
    try:
        return await token
    except AuthError as error:
        problem = error.again()
    problem.upstream = True
    raise problem


@attrs.define(repr=False, eq=False)
class ResolvedCredentials:
    """The values of a provider's credentials for one token request, and the managers that they came from.

    Attributes:
        credentials: The credentials.
        values: The value of each.
        sources: The managers, each with its token.
        own: The values that came from no manager.
        repeat: Whether they replace values that the server had rejected (default ``False``).
    """

    credentials: tuple[Credential, ...]
    values: tuple[str, ...]
    sources: tuple[tuple[TokenSource, Token], ...]
    own: tuple[str, ...]
    repeat: bool = False

    @property
    def names(self) -> str:
        """The credentials' names, for errors."""
        return " and ".join(dict.fromkeys(credential.name for credential in self.credentials)) or "request"

    @property
    def may_change(self) -> bool:
        """Whether a callable supplies one of them."""
        return any(credential.may_change for credential in self.credentials)

    @property
    def digest(self) -> str | None:
        """A keyed digest of the values that no manager supplied; ``None``: all came from managers."""
        return None if self.sources and not self.own else digest("\0".join(self.own))

    def sent_credential(self, mark_of: Callable[[str], str] | None) -> SentCredential:
        """Return the record of these credentials.

        Args:
            mark_of: Makes a shared store's digest of a credential; ``None``: there is no store.
        """
        mark = None if mark_of is None or self.digest is None else mark_of("\0".join(self.own))
        return SentCredential(self.digest, mark, self.may_change)

    async def renewed(self, http: aiohttp.ClientSession) -> ResolvedCredentials | None:
        """Report the rejection to the managers that values came from, and resolve the credentials again.

        Returns:
            ``None`` if no value came from a manager, or all values are the same again.
        """
        for source, token in self.sources:
            source.invalidate(token)
        if not self.sources:
            return None
        again = await resolve(self.credentials, http)
        return attrs.evolve(again, repeat=True) if again.values != self.values else None

    def rejected_again(self) -> None:
        """Report to the managers that the replacements of their rejected tokens were rejected, too."""
        for source, token in self.sources:
            source.invalidate(token, repeat=True)

    def accepted(self) -> None:
        """Report to the managers that their tokens were accepted."""
        for source, token in self.sources:
            source.accepted(token, repeat=self.repeat)


def constant(credentials: tuple[Credential, ...]) -> ResolvedCredentials | None:
    """Return the values of credentials that are all strings; ``None``: one of them must be obtained."""
    values: list[str] = []
    for credential in credentials:
        if not isinstance(credential.source, str):
            return None
        values.append(credential.source)
    own = tuple(values)
    return ResolvedCredentials(credentials, own, (), own)


async def resolve(credentials: tuple[Credential, ...], http: aiohttp.ClientSession) -> ResolvedCredentials:
    """Obtain the values of all credentials. Raises as `Credential.resolve` does."""
    values: list[str] = []
    sources: list[tuple[TokenSource, Token]] = []
    own: list[str] = []
    for credential in credentials:
        value, source, token = await credential.resolve(http)
        values.append(value)
        if source is None or token is None:
            own.append(value)
        else:
            sources.append((source, token))
    return ResolvedCredentials(credentials, tuple(values), tuple(sources), tuple(own))
