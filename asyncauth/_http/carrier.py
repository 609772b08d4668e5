"""How an API request carries its token: in which header, cookie or query parameter, and after which scheme.

Pure: no I/O. A token that is put on a request is removed once the request has been answered or has failed.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from aiohttp.hdrs import AUTHORIZATION, COOKIE

from asyncauth._base.patterns import pattern
from asyncauth.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping

    from yarl import URL

    from asyncauth.token import Token

__all__ = ["IN_AUTHORIZATION", "PLAIN", "Carrier"]

IN_AUTHORIZATION: Final = "header:Authorization"
"""The default of `carried_as` (RFC 6750 §2.1)."""

_PLACES: Final = ("header", "cookie", "query")
_WORD: Final = pattern(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""The name of a header, a cookie or a scheme (RFC 9110 §5.6.2, RFC 6265 §4.1.1)."""
_COOKIE_VALUE: Final = pattern(r"[!#-+\--:<-\[\]-~]*")
"""RFC 6265 §4.1.1. Any other character would end the cookie, or begin another one."""
_FRAMING: Final = frozenset({"connection", "content-length", "expect", "host", "te", "transfer-encoding", "upgrade"})
"""Headers that aiohttp sets itself, since they define where a request ends and goes."""


class Carrier(NamedTuple):
    """How requests carry a token. Immutable; usable in any thread.

    Attributes:
        place: The kind of place: ``"header"`` (default), ``"cookie"`` or ``"query"``.
        name: The name of that header, cookie or query parameter (default ``"Authorization"``).
        scheme: The text before the token in a header; ``""``: none. ``None`` (default): in ``Authorization`` the scheme
            of the token's type, in any other header none.
    """

    place: str = "header"
    name: str = AUTHORIZATION
    scheme: str | None = None

    @classmethod
    def of(cls, carried_as: object, scheme: object, *, bound: bool = False) -> Carrier:
        """Return the carrier for a provider's ``carried_as`` and ``scheme``. Equal ones are the same object.

        Args:
            carried_as: The place and its name.
            scheme: The text before the token there.
            bound: Whether the token is bound to a key (DPoP), which allows only the default (default ``False``).

        Raises:
            ConfigurationError: An argument is wrong; the message says what to write.
        """
        if not isinstance(carried_as, str):
            kind = type(carried_as).__name__
            raise ConfigurationError(f"carried_as= takes a str such as 'header:X-Api-Token', not {kind}")
        if scheme is not None and not isinstance(scheme, str):
            raise ConfigurationError(f"scheme= takes a str such as 'Token', '' or None, not {type(scheme).__name__}")
        carrier = _parsed(carried_as, scheme)
        if bound and carrier != PLAIN:
            raise ConfigurationError(
                "a DPoP token goes into the Authorization header, after DPoP",
                advice="leave carried_as and scheme out (RFC 9449 §7.1)",
            )
        return carrier

    @property
    def in_authorization(self) -> bool:
        """Whether the place is the ``Authorization`` header."""
        return self.name == AUTHORIZATION and self.place == "header"

    def text(self, token: Token) -> str:
        """Return the text that carries a token: the header's value, the whole cookie, or the parameter's value."""
        if self.place != "header":
            return f"{self.name}={token.value}" if self.place == "cookie" else token.value
        if self.scheme is None:
            return token.authorization if self.in_authorization else token.value
        return f"{self.scheme} {token.value}".lstrip()

    def flaw(self, token: Token) -> str | None:
        """Return why a token can't be carried in this way, without the token; ``None``: it can."""
        if self.place == "cookie" and not _COOKIE_VALUE().fullmatch(token.value):
            return "the token has characters that a cookie cannot contain"
        return None

    def is_taken(self, headers: Mapping[str, str], url: URL) -> bool:
        """Return whether the caller has already set this place, which is then not overridden.

        Args:
            headers: The request's headers.
            url: The request's URL.
        """
        if self.place == "header":
            return self.name in headers
        if self.place == "query":
            return self.name in url.query
        return any(_name_of(cookie) == self.name for line in _cookies(headers) for cookie in line.split(";"))

    def put_on(self, headers: MutableMapping[str, str], text: str) -> None:
        """Put a token into the headers, unless its place is the query.

        Args:
            headers: The request's headers, in which the place is free. Changed in place.
            text: The result of `text`.
        """
        if self.place == "header":
            headers[self.name] = text
        elif self.place == "cookie":
            headers[COOKIE] = "; ".join((*_cookies(headers), text))

    def take_off(self, headers: MutableMapping[str, str]) -> None:
        """Remove what `put_on` added, if it is still there."""
        if self.place == "header":
            if self.name in headers:  # the caller's middlewares may have removed it
                del headers[self.name]
        elif self.place == "cookie" and COOKIE in headers:
            left = ";".join(each for each in headers[COOKIE].split(";") if _name_of(each) != self.name).strip()
            if left:
                headers[COOKIE] = left
            else:
                del headers[COOKIE]

    def added_to(self, url: URL, text: str) -> str:
        """Return the text to append to a URL so that it carries the token; ``""``: it is carried elsewhere.

        Args:
            url: The request's URL, in which the place is free. Its query is not re-encoded: it may be signed.
            text: The result of `text`.
        """
        if self.place != "query":
            return ""
        return f"{'&' if url.raw_query_string else '?'}{quote(self.name, safe='')}={quote(text, safe='')}"

    @property
    def header(self) -> str | None:
        """The header that carries the token in a request without other headers; ``None``: none does."""
        name = self.name if self.place == "header" else COOKIE if self.place == "cookie" else None
        return None if name is None else str(name)  # an `istr` as the key makes a dict, and its look-ups, slower

    def __str__(self) -> str:
        return f"{self.place}:{self.name}"


PLAIN: Final = Carrier()
"""The ``Authorization`` header, with the scheme of the token's type."""


@functools.lru_cache(maxsize=256)  # the managers of a pool share one carrier
def _parsed(carried_as: str, scheme: str | None) -> Carrier:
    place, colon, name = carried_as.partition(":")
    if not colon or place not in _PLACES:
        raise ConfigurationError(
            "carried_as= names a place and its name: 'header:X-Api-Token', 'cookie:SESSION' or 'query:access_token'"
        )
    if place == "query":
        if not name.strip() or not name.isprintable():
            raise ConfigurationError(
                "carried_as= needs the parameter's name after 'query:', as in 'query:access_token'"
            )
    elif not _WORD().fullmatch(name):
        raise ConfigurationError(f"carried_as= needs the {place}'s name after '{place}:', without blanks and colons")
    if place == "header" and name.lower() == "cookie":
        raise ConfigurationError("carried_as= takes 'cookie:NAME' for a cookie, so that other cookies stay")
    if place == "header" and name.lower() in _FRAMING:
        raise ConfigurationError(
            f"carried_as= can't be the header {name}, which aiohttp sets itself", advice="name the API's own"
        )
    if scheme is not None and place != "header":
        raise ConfigurationError("scheme= is for headers only", advice=f"leave it out for a token in a {place}")
    if scheme and not _WORD().fullmatch(scheme):
        raise ConfigurationError("scheme= takes one word such as 'Token', or '' for none")
    if place == "header" and name.lower() == "authorization":
        return PLAIN if scheme is None else Carrier(place, AUTHORIZATION, scheme)
    return Carrier(place, name, scheme)


def _cookies(headers: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of the ``Cookie`` header that are not empty."""
    return (line for name, line in headers.items() if name.lower() == "cookie" and line.strip())


def _name_of(cookie: str) -> str:
    return cookie.partition("=")[0].strip()
