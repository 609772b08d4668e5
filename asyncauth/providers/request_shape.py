"""The shape of a declared token request: the places of its credentials, and its other parts. Pure."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeGuard, cast, get_args

import attrs

from asyncauth.errors import ConfigurationError
from asyncauth.providers.oauth2.options import is_json
from asyncauth.providers.wire.credential import Credential, CredentialLike
from asyncauth.providers.wire.endpoint import Request
from asyncauth.providers.wire.path import Path

__all__ = ["HEADER_NAME", "DeclaredCredentials", "Place", "RequestShape", "SentAs", "checked_method", "checked_way"]

SentAs = Literal["form", "json", "query", "bearer", "basic", "header", "text", "xml"]

_NAMES = {
    "form": "field",
    "json": "field",
    "query": "parameter",
    "header": "header",
    "basic": "user name",
}
"""The meaning of a credential's name, by the way in which it is sent; the other ways need no name."""

Fields: TypeAlias = "Mapping[str, Any] | str"

_WAYS: tuple[str, ...] = get_args(SentAs)
_BODIES = ("form", "json", "text", "xml")
_IN_AUTHORIZATION = ("basic", "bearer")
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BETWEEN = re.compile(r"<[^<>]*>|\{[^{}]*\}")
"""The parts of a text that are not values: XML tags, and the names of credentials."""
_CONTENT_TYPES = {"text": "text/plain; charset=utf-8", "xml": "text/xml; charset=utf-8"}


@attrs.frozen
class Place:
    """The place of one credential in a request.

    Attributes:
        way: One of `SentAs`.
        name: The field's name, the path in a JSON body, the header's name, the user name of Basic, or the name in
            braces in a text. ``""``: the way needs no name, or the credential is the whole text.
    """

    way: str
    name: str

    @classmethod
    def of(cls, text: str, way: str) -> Place:
        """Return a declared place: a name, or a way and a name, such as ``"header:X-Key"``.

        Args:
            text: The declaration.
            way: How the credential is sent if the text does not say.
        """
        prefix, colon, name = text.partition(":")
        return cls(prefix, name) if colon and prefix in _WAYS else cls(way, text)

    @property
    def steps(self) -> tuple[str | int, ...]:
        """The names and indexes that lead to a place in a JSON body."""
        return Path.of(self.name, "a credential's name").steps

    @property
    def called(self) -> str:
        """The name of one of several credentials in errors."""
        return "password" if self.way == "basic" else self.name or self.way

    def credential(self, value: CredentialLike, name: str) -> Credential:
        """Return the credential for this place. Never raises."""
        bearer, header, in_text = self.way == "bearer", self.way == "header", self.way in ("text", "xml")
        return Credential(value, name, bearer=bearer, header=header, multiline=in_text)

    def check(self) -> None:
        """Raise if a name is wrong.

        Raises:
            ConfigurationError: It is.
        """
        if self.way == "header" and not HEADER_NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"{self.name!r} is not a valid name of a header", advice="write the header's name alone"
            )
        if self.way == "basic" and ":" in self.name:
            raise ConfigurationError(
                "a user name can't contain a colon (RFC 7617 §2)", advice="ask for another user name"
            )
        if self.way == "bearer" and self.name:
            raise ConfigurationError(
                "a bearer credential has no name", advice="give it alone, or as 'bearer:' beside others"
            )
        if self.way in _NAMES and self.way != "basic" and not self.name:
            raise ConfigurationError(f"the name of a credential's {_NAMES[self.way]} is empty", advice="write it")


@attrs.frozen(repr=False)
class DeclaredCredentials:
    """The declared credentials. The repr shows none.

    Attributes:
        sent_as: How they are sent, unless a place says otherwise.
        names: The declared place of each; ``None``: there is one, which needs no name.
        credentials: The credentials.
    """

    sent_as: str
    names: tuple[str, ...] | None
    credentials: tuple[Credential, ...]

    @classmethod
    def of(cls, credential: CredentialLike | Mapping[str, CredentialLike], sent_as: str) -> DeclaredCredentials:
        """Return the credentials of a declaration. Never raises, since its frame contains the secrets."""
        if _is_named(credential):
            named = cls(sent_as, tuple(map(str, credential)), ())
            values = zip(named.places, credential.values(), strict=True)
            return attrs.evolve(
                named, credentials=tuple(place.credential(value, place.called) for place, value in values)
            )
        single, alone = cls(sent_as, None, ()), cast("CredentialLike", credential)
        return attrs.evolve(single, credentials=(single.places[0].credential(alone, "credential"),))

    @property
    def places(self) -> tuple[Place, ...]:
        """The place of each credential."""
        if self.names is not None:
            return tuple(Place.of(name, self.sent_as) for name in self.names)
        return (Place(self.sent_as, ""),)

    @property
    def username(self) -> str | None:
        """The user name that says whose the token is; ``None``: there is none."""
        return next((place.name for place in self.places if place.way == "basic"), None)

    def check(self) -> None:
        """Raise if a way is unknown, or a credential lacks the name that it needs.

        Raises:
            ConfigurationError: One of these is the case.
        """
        name = _NAMES.get(checked_way(self.sent_as))
        if self.names is None and name is not None:
            raise ConfigurationError(
                f"sent_as={self.sent_as!r} needs the credential's {name}", advice=f"write credential={{{name!r}: …}}"
            )


@attrs.frozen(repr=False)
class RequestShape:
    """A token request without its credentials.

    Attributes:
        sent_as: How the other fields are sent.
        places: The place of each credential.
        fields: The other fields, or the text in which the credentials stand.
        headers: Other headers.
    """

    sent_as: str
    places: tuple[Place, ...]
    fields: Fields
    headers: Mapping[str, str]

    @classmethod
    def of(
        cls, sent_as: str, places: tuple[Place, ...], fields: Fields | None, headers: Mapping[str, str] | None
    ) -> RequestShape:
        """Return the shape of a declared request.

        Raises:
            ConfigurationError: Its parts contradict each other.
        """
        for place in places:
            place.check()
        shape = cls(sent_as, places, _fields(sent_as, fields), _headers(headers))
        shape.check()
        return shape

    def check(self) -> None:
        """Reject parts that contradict each other.

        Raises:
            ConfigurationError: They do.
        """
        if len(set(self.places)) < len(self.places):
            raise ConfigurationError("two credentials have the same place", advice="give one of them another name")
        bodies = {each for each in (self.sent_as, *(place.way for place in self.places)) if each in _BODIES}
        if len(bodies) > 1:
            raise ConfigurationError(
                f"a request has one body, not {' and '.join(sorted(bodies))}", advice="send both in the same one"
            )
        header_names = [place.name.lower() for place in self.places if place.way == "header"]
        header_names += ["authorization" for place in self.places if place.way in _IN_AUTHORIZATION]
        header_names += [name.lower() for name in self.headers]
        twice = sorted({name for name in header_names if header_names.count(name) > 1})
        if twice:
            raise ConfigurationError(f"the header {twice[0]!r} is declared twice", advice="leave one of the two out")
        for place in self.places:
            if self._is_free(place):
                continue
            if isinstance(self.fields, str):
                raise ConfigurationError(
                    f"fields= has no {{{place.name}}}, where the credential would go",
                    advice="write it there, in braces",
                )
            raise ConfigurationError(
                f"fields= already has {place.name!r}, which is for the credential", advice="leave it out of fields="
            )

    def _is_free(self, place: Place) -> bool:
        """Return whether the fields leave a place free for a credential."""
        if isinstance(self.fields, str) and place.way in _CONTENT_TYPES:
            is_whole = not self.fields and [each.way for each in self.places].count(place.way) == 1
            return is_whole or f"{{{place.name}}}" in self.fields
        if place.way == "json":
            return _is_free(self.fields, place.steps)
        return place.way != self.sent_as or place.name not in self.fields

    @property
    def texts(self) -> tuple[str, ...]:
        """Further texts that may be secret: the texts in the fields, and the values of headers."""
        fields = _BETWEEN.split(self.fields) if isinstance(self.fields, str) else self.fields
        return (*_texts(fields), *self.headers.values())

    def request(self, *values: str) -> Request:
        """Return the request with these credentials, in the order of the places."""
        headers, json, made = dict(self.headers), self._json_fields, list[str]()
        pairs = {"form": self._pairs("form"), "query": self._pairs("query")}
        texts: dict[str, str] = {}
        for place, value in zip(self.places, values, strict=True):
            if place.way in pairs:
                pairs[place.way].append((place.name, value))
            elif place.way == "json":
                json = cast("dict[str, Any]", _placed(json, place.steps, value))
            elif place.way == "header":
                headers[place.name] = value
            elif place.way == "bearer":
                headers["Authorization"] = f"Bearer {value}"
            elif place.way == "basic":
                made.append(base64.b64encode(f"{place.name}:{value}".encode()).decode())
                headers["Authorization"] = f"Basic {made[-1]}"
            else:
                texts[f"{{{place.name}}}"] = html.escape(value) if place.way == "xml" else value
        return Request(
            headers=headers,
            query=pairs["query"],
            form=pairs["form"] or None,
            json=json or None,
            text=self._text(texts),
            content_type=_CONTENT_TYPES.get(self.sent_as),
            secrets=tuple(made),
        )

    def _text(self, texts: Mapping[str, str]) -> str | None:
        """Return a text body, with the credentials in place of their names in braces; ``None``: it is not a text."""
        if not isinstance(self.fields, str):
            return None
        if not self.fields:
            return "".join(texts.values())
        return re.sub("|".join(map(re.escape, texts)) or "$^", lambda match: texts[match[0]], self.fields)

    def _pairs(self, way: str) -> list[tuple[str, str]]:
        """Return the other fields, if they are sent in this way."""
        if self.sent_as != way or isinstance(self.fields, str):
            return []
        return [(name, str(value)) for name, value in self.fields.items()]

    @property
    def _json_fields(self) -> dict[str, Any]:
        """The other fields, if they are sent as JSON, which includes requests with the credential in a header."""
        return {} if isinstance(self.fields, str) or self.sent_as in {"form", "query"} else dict(self.fields)


def _fields(sent_as: str, fields: Fields | None) -> Fields:
    """Return a copy of the other fields.

    Raises:
        ConfigurationError: They are of the wrong kind.
    """
    if sent_as in _CONTENT_TYPES:
        if fields is not None and not isinstance(fields, str):
            raise ConfigurationError(
                f"sent_as={sent_as!r} takes a text as fields=, with the credential's name in braces"
            )
        return fields or ""
    if fields is None:
        return {}
    if not isinstance(fields, Mapping) or not is_json(fields):
        raise ConfigurationError("fields= takes a mapping of JSON values")
    return dict(fields)


def _headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return a copy of the other headers.

    Raises:
        ConfigurationError: They can't be sent.
    """
    if headers is None:
        return {}
    if not isinstance(headers, Mapping) or not all(_is_header(*each) for each in headers.items()):
        raise ConfigurationError("headers= takes a mapping of header names to texts without line breaks")
    return dict(headers)


def _is_header(name: object, value: object) -> bool:
    named = isinstance(name, str) and HEADER_NAME.fullmatch(name)
    return bool(named) and isinstance(value, str) and not any(char in "\r\n\0" for char in value)


def _is_named(credential: object) -> TypeGuard[Mapping[str, CredentialLike]]:
    return isinstance(credential, Mapping)


def _is_free(container: object, steps: Sequence[str | int]) -> bool:
    """Return whether a path is free: its value is missing or ``None``, and the containers before it can hold it."""
    if not steps:
        return container is None
    step, rest = steps[0], steps[1:]
    if isinstance(step, int):
        items = cast("list[object]", container) if isinstance(container, list) else []
        return -len(items) <= step < len(items) and _is_free(items[step], rest)
    if container is None:
        return True
    return isinstance(container, Mapping) and _is_free(cast("Mapping[str, object]", container).get(step), rest)


def _placed(container: Any, steps: Sequence[str | int], value: str) -> Any:
    """Return a copy of a JSON document with a value at a free path."""
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(step, int):
        items = list(container)
        items[step] = _placed(items[step], rest, value)
        return items
    inner = dict(container or {})
    inner[step] = _placed(inner.get(step), rest, value)
    return inner


def _texts(value: object) -> Iterator[str]:
    """Yield the texts and numbers in a JSON value, at any depth, as texts."""
    if isinstance(value, Mapping):
        yield from _texts(list(cast("Mapping[str, object]", value).values()))
    elif isinstance(value, (list, tuple)):
        for each in cast("Sequence[object]", value):
            yield from _texts(each)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield str(value)


def checked_way(sent_as: str) -> str:
    """Return how a credential is sent.

    Raises:
        ConfigurationError: There is no such way.
    """
    if sent_as not in _WAYS:
        raise ConfigurationError(f"sent_as is one of {', '.join(map(repr, _WAYS))}")
    return sent_as


def checked_method(method: str) -> str:
    """Return an HTTP method in upper case.

    Raises:
        ConfigurationError: It is not an HTTP method.
    """
    # a method has the same characters as a header's name
    if not isinstance(method, str) or not HEADER_NAME.fullmatch(method):
        raise ConfigurationError("method= takes the name of an HTTP method, such as 'POST'")
    return method.upper()
