"""Removes secrets from other people's text, in many encodings. Pure; takes time in proportion to the text."""

from __future__ import annotations

import base64
import functools
import re
import sys
from array import array
from itertools import compress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Redactor"]

_RUN = 8
"""Bytes of a secret that are recognised anywhere: one machine word, so that C code compares them."""

_SHORTEST_WORD = 4
"""The fewest bytes of a value that is removed as a separate word."""

_LONGEST_SECRET = 1 << 15
"""Bytes of a secret that are compared. Most servers reject a header of half that length."""

_LAYERS = 4
"""How many nested encodings are decoded, such as HTML in JSON in a URL."""

_ARMOUR = re.compile(rb"-----(?:BEGIN|END) [A-Z0-9 ]{1,40}-----")
"""The first and last line of a key in PEM. They are not secret, and messages mention "private keys"."""

_BREAKS = bytes(range(0x21)) + b"\x7f+-"
"""Characters that the comparison skips. A form has ``+`` for a space, and base64url ``-`` for ``+``."""

_WIDE_BREAKS = {
    2: re.compile(rb"\xc2[\x80-\xa0\xad]|\xcd\x8f|\xd8\x9c"),
    3: re.compile(
        rb"""\xe1(?: \x85[\x9f\xa0] | \x9a\x80 | \x9e[\xb4\xb5] | \xa0[\x8b-\x8f] )
        | \xe2(?: \x80[\x80-\x8f\xa8-\xaf] | \x81[\x9f-\xaf] | \xa0\x80 )
        | \xe3(?: \x80\x80 | \x85\xa4 )
        | \xef(?: \xb8[\x80-\x8f] | \xbb\xbf | \xbe\xa0 | \xbf[\xb0-\xbb] )""",
        re.VERBOSE,
    ),
    4: re.compile(rb"\xf0(?:\x9b\xb2[\xa0-\xa3]|\x9d\x85[\xb3-\xba])|\xf3\xa0[\x80-\x87][\x80-\xbf]"),
}
"""More characters to skip, of two to four bytes in UTF-8: Unicode's spaces, fillers, format controls, variation
selectors."""

_SPELLED = re.compile(
    rb"""(
      % (?:                                                                       # %41 %2541 %u0041
          (?:25)*[0-9a-fA-F]{2}
        | u[dD][89abAB][0-9a-fA-F]{2} %u[dD][c-fC-F][0-9a-fA-F]{2} | u[0-9a-fA-F]{4}
      )
    | \\(?<!\\\\)\\*+ (?:                                                         # \u0041 \x41 \n
          u[dD][89abAB][0-9a-fA-F]{2} \\++u[dD][c-fC-F][0-9a-fA-F]{2}             # \ud83e\udd8a: one character
        | u[0-9a-fA-F]{4} | x[0-9a-fA-F]{2} | [bfnrt]
      )
    | & (?:
          (?:amp;)*+ (?:\#[0-9]{1,12}|\#[xX][0-9a-fA-F]{1,12}|[a-zA-Z][a-zA-Z0-9]{1,30});
        | (?:amp;)++                                                              # &#65; &#x41; &lt; &amp;lt;
      )
    )""",
    re.VERBOSE,
)
"""One character as encoded in URLs, JSON and HTML."""

_FOLD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ_", b"abcdefghijklmnopqrstuvwxyz/")
"""Maps upper case to lower case, and base64url's underscore to base64's slash."""

_PHRASES = (
    b"access token", b"application", b"authenticated", b"authentication", b"authorization", b"authorized",
    b"client credentials", b"client id", b"client secret", b"credentials", b"expires in", b"grant type", b"incorrect",
    b"password", b"permission", b"private key", b"refresh token", b"subject token", b"token type", b"unauthorized",
    b"username",
)  # fmt: skip
"""Ordinary words of servers' messages: see `Redactor`."""
_ORDINARY = b"\n".join(phrase.replace(b" ", space) for phrase in _PHRASES for space in (b" ", b"_", b"-", b"/", b""))
"""The phrases in all forms in which a search sees them."""
_LONGEST_PHRASE = max(map(len, _PHRASES))

_MARKED = re.compile(rb"\x01+")


class Redactor:
    r"""Removes secrets from texts.

    **Recognised** are any 8 characters in a row of a secret (8 bytes in UTF-8). The same goes for its hexadecimal form,
    and for its base64 or base64url form, even if more was encoded with it. A secret of fewer than 8 characters is
    recognised as a whole. It does not matter

    - whether letters are upper or lower case;
    - whether characters are encoded as in URLs (``%41``, ``%2541``, ``+``), JSON (``\u0041``, ``\x41``, ``\/``) or HTML
      (``&#65;``, ``&#x41;``, ``&lt;``), or as one of these inside another, up to 4 deep;
    - what white space, control characters, invisible characters, hyphens, plus signs and backslashes are in between.
      They do not count as characters, unless the text repeats them exactly.

    **Not recognised** are fewer than 8 characters of a longer secret, hashes, ciphers, compression, and other
    encodings. Nor is another Unicode form than the secret's own: composed or decomposed, or a letter outside ASCII in
    the other case. Of a secret, only the first 32 KiB are searched for. An ordinary phrase of servers' messages stays,
    even if a secret contains it: "Wrong password" reveals nothing about ``password1``, but a gap in its place would. A
    secret that is itself only such a phrase is removed.

    Concurrency: immutable; usable in any thread.

    Args:
        secrets: The texts that must not be shown.
        values: Texts that may be secrets or ordinary words, such as the other fields of a request (default: none).
            Ordinary phrases are not removed. A value of 4 to 7 characters is removed only if it has a digit and is a
            separate word. Shorter values are never removed.
    """

    __slots__ = ("_runs", "_whole")

    def __init__(self, secrets: Iterable[str], values: Iterable[str] = ()) -> None:
        self._runs: set[int] = set()
        whole: set[bytes] = set()
        alone: set[bytes] = set()
        searched = set(secrets)
        for value in set(values):
            raw = value.encode("utf-8", "surrogatepass").lower()
            plain, _ = _plain(raw)
            if plain in _ORDINARY or len(plain) < _SHORTEST_WORD:
                continue
            if len(plain) >= _RUN:
                searched.add(value)
            elif any(char.isdigit() for char in value):
                alone.update((raw, plain))
        for word in {word for secret in searched for word in _forms(secret) if word}:
            for words in _machine_words(word):
                self._runs.update(words)
            if len(word) < _RUN or word in _ORDINARY:
                whole.add(word)
        patterns = [b"(?:%b)++" % _any_of(whole)] if whole else []
        patterns += [rb"(?<![0-9a-z])(?:%b)(?![0-9a-z])" % _any_of(alone)] if alone else []
        self._whole = re.compile(b"|".join(patterns)) if patterns else None

    def text(self, text: str, instead: str = "…") -> str:
        """Return a text with ``instead`` in place of each secret."""
        data = text.encode("utf-8", "surrogatepass")
        return self.data(data, instead.encode()).decode("utf-8", "surrogatepass")

    def data(self, data: bytes, instead: bytes = b"\xe2\x80\xa6") -> bytes:
        """Return bytes with ``instead`` in place of each secret. They need not be text."""
        places = self._places(data.lower(), range(len(data) + 1))
        for start, end in self._places(*_plain(data)):
            # Up to the next character that is compared, without characters that may be the text's own.
            places.append((start, start + len(data[start:end].rstrip(b" \t\r\n\\"))))
        kept: list[bytes] = []
        done = -1
        for start, end in sorted(places):
            if start > done:
                kept += data[max(0, done) : start], instead
            done = max(done, end)
        return b"".join((*kept, data[max(0, done) :]))

    def _places(self, text: bytes, origins: Sequence[int]) -> list[tuple[int, int]]:
        """Return the positions of secrets in the original.

        Args:
            text: The text to search.
            origins: The position of each of its bytes in the original, followed by the original's length.
        """
        marks = bytearray(len(text))
        for shift, words in enumerate(_machine_words(text)):
            marks[shift : shift + _RUN * len(words) : _RUN] = bytes(map(self._runs.__contains__, words))
        found = [(run.start(), run.end() + _RUN - 1) for run in _MARKED.finditer(marks)]
        found = [
            (start, end) for start, end in found if end - start > _LONGEST_PHRASE or text[start:end] not in _ORDINARY
        ]
        if self._whole is not None:
            found += [match.span() for match in self._whole.finditer(text)]
        if not text.isascii():
            found = [_whole_characters(text, *place) for place in found]
        return [(origins[start], origins[end]) for start, end in found]


def _any_of(words: Iterable[bytes]) -> bytes:
    """Return a pattern that matches any of these words, the longest first."""
    return b"|".join(map(re.escape, sorted(words, key=len, reverse=True)))


def _whole_characters(text: bytes, start: int, end: int) -> tuple[int, int]:
    """Return a range extended to whole UTF-8 characters."""
    for _ in range(3):  # a character has at most 3 further bytes
        start -= start > 0 and text[start] & 0xC0 == 0x80  # noqa: PLR2004
        end += end < len(text) and text[end] & 0xC0 == 0x80  # noqa: PLR2004
    return start, end


def _machine_words(text: bytes) -> Iterator[memoryview[int]]:
    """Yield the 8 bytes from each position as numbers: first from 0, 8, 16 and so on, then from 1, 9, 17 and so on."""
    for shift in range(min(_RUN, len(text) - _RUN + 1)):
        yield memoryview(text)[shift : shift + (len(text) - shift) // _RUN * _RUN].cast("Q")


def _forms(secret: str) -> Iterator[bytes]:
    """Yield the forms of a secret that are searched for."""
    raw = _ARMOUR.sub(b"", secret.encode("utf-8", "surrogatepass"))[:_LONGEST_SECRET]
    yield raw.lower()
    yield _plain(raw)[0]
    # If the text encodes each of its characters, a part of the secret that looks encoded is not.
    yield _plain(raw, layers=0)[0]
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw)
        if before == 0:
            yield from (_plain(encoded)[0], _plain(encoded.rstrip(b"="))[0])
            continue
        # Without the characters that depend on what was encoded before and after.
        inner = _plain(encoded[before + 1 : (before + len(raw)) * 8 // 6])[0]
        if len(inner) >= _RUN:
            yield inner
    if len(raw) * 2 >= _RUN:
        yield raw.hex().encode()


def _plain(data: bytes, layers: int = _LAYERS) -> tuple[bytes, Sequence[int]]:
    """Return a text with its encodings decoded, and the original position of each byte: see `Redactor._places`."""
    data, origins = _without(_BREAKS, data, range(len(data) + 1))
    for _ in range(layers):
        parts = _SPELLED.split(data)
        # Texts have few different encoded characters, so each is decoded once.
        meant = {spelled: _meant(spelled) for spelled in set(parts[1::2])}
        parts[1::2] = map(meant.__getitem__, parts[1::2])
        undone = b"".join(parts)
        if undone == data:
            break
        data, origins = _without(_BREAKS, undone, origins)
    data, origins = _without(b"\\", data, origins)
    return data.translate(_FOLD), origins


def _without(unwanted: bytes, data: bytes, origins: Sequence[int]) -> tuple[bytes, Sequence[int]]:
    """Return a text without some characters, and the original positions of the others."""
    if not data.isascii():
        for size, breaks in _WIDE_BREAKS.items():
            data = breaks.sub(bytes(size), data)
    left = data.translate(None, unwanted)
    if len(left) < len(data):
        origins = array("Q", compress(origins, data.translate(_all_but(unwanted)) + b"\1"))
    return left, origins


@functools.cache
def _all_but(unwanted: bytes) -> bytes:
    """Return a table that maps some characters to 0, and all others to 1."""
    return bytes(byte not in unwanted for byte in range(256))


def _meant(spelled: bytes) -> bytes:
    """Return the decoded character, padded to the same length with zeros, which the comparison skips."""
    if spelled.startswith(b"&"):
        meant = _entity(spelled)
    elif spelled[-5:-4] != b"u":
        # Of the others, only hexadecimal digits encode a character: a backslash and a letter are white space.
        coded = spelled.startswith(b"%") or spelled[-3:-2] == b"x"
        meant = bytes((int(spelled[-2:], 16),)) if coded else b""
    elif spelled.count(b"u") == 1:
        meant = chr(int(spelled[-4:], 16)).encode("utf-8", "surrogatepass")
    else:
        meant = bytes.fromhex(spelled.translate(None, b"%\\u").decode()).decode("utf-16-be").encode()
    return meant.ljust(len(spelled), b"\0")


def _entity(spelled: bytes) -> bytes:
    """Return the character of an HTML entity; an unknown entity unchanged."""
    name = spelled[1:-1].rpartition(b";")[2].decode()
    if name.startswith("#"):
        code = int(f"0{name[1:]}", 0 if name[1] in "xX" else 10)
        meant = chr(code) if code <= sys.maxunicode else name
    else:
        meant = _entity_names().get(f"{name};", name)
    if meant is name:
        return spelled
    encoded = meant.encode("utf-8", "surrogatepass")
    return encoded if len(encoded) <= len(spelled) else spelled


@functools.cache
def _entity_names() -> dict[str, str]:
    """Return HTML's 2,000 entity names. Few texts have an entity, and they are slow to load."""
    from html.entities import html5  # noqa: PLC0415

    return html5
