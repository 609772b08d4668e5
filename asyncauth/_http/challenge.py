"""What a 401 says about its reason: ``WWW-Authenticate``, parsed in full.

The header is a list of challenges, each of which has a list of parameters, and both lists are separated by
commas. So whether ``x`` after a comma opens a challenge or names a parameter shows only in what follows it.
On top come several header lines, commas and escapes inside quoted strings, blanks around ``=`` and empty list
elements.

The answering server wrote it, which may not be the API. So nothing that stands there raises; each character is
looked at a fixed number of times, and only the first 64 KiB and 64 challenges are looked at. What can't be
read is skipped up to the next comma.
"""

from __future__ import annotations

import enum
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from asyncauth._base.patterns import pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["Challenge", "Reason", "parse", "reason_of", "wants_dpop_nonce"]

_MAX_TEXT: Final = 65_536  # characters over all header lines; aiohttp takes 8 KiB a line
_MAX_CHALLENGES: Final = 64
_MAX_SCHEME: Final = 32  # characters in a repr
_MAX_NAMES: Final = 80  # characters in a repr

_TOKEN_SCHEMES: Final = frozenset({"bearer", "dpop"})
# A new token of the same kind would meet the same refusal: RFC 6750 §3.1, RFC 9470 §3.
# Nor does it help where the proof is wrong (RFC 9449 §7.1, §9): each request carries a new proof.
_NOT_THE_TOKEN: Final = frozenset(
    {
        "insufficient_scope",
        "insufficient_user_authentication",
        "invalid_request",
        "use_dpop_nonce",
        "invalid_dpop_proof",
    }
)

# Linear on any input: no two ways to match the same text. The runs inside a repeated group are possessive
# (++), or an unfinished quoted string would be tried in each of the ways to cut it in pieces. The groups
# themselves are not: before 3.11.5 Python got possessive groups wrong.
_GAP: Final = pattern(r"[ \t,]*")
_BLANKS: Final = pattern(r"[ \t]*")
_TOKEN: Final = pattern(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TOKEN68: Final = pattern(r"[A-Za-z0-9\-._~+/]+=*")
_QUOTED: Final = pattern(r'"((?:[^"\\]++|\\.)*)"', re.DOTALL)
_ESCAPE: Final = pattern(r"\\(.)", re.DOTALL)
# More than RFC 9110's token: real servers write authorization_uri=https://… without quotes.
_BARE: Final = pattern(r'[^ \t,"]+')
# Up to the next comma that is not inside quotes. A quote without an end hides all that follows it.
_ELEMENT: Final = pattern(r'(?:[^",]++|"(?:[^"\\]++|\\.)*"?)*', re.DOTALL)


def _lower(text: str) -> str:
    return text.lower()


def _read_only(params: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(params))


@attrs.frozen(repr=False)
class Challenge:
    """One challenge of a ``WWW-Authenticate`` header (RFC 9110 §11.3, §11.6.1).

    Attributes:
        scheme: The authentication scheme in lower case: ``"bearer"``, ``"basic"``.
        token68: What stands after the scheme in place of parameters (``Negotiate YII=``), or ``None``.
        params: The parameters, names in lower case, values without quotes and escapes. Read-only. Of a name
            that comes twice, the first value. They may hold nonces, so the repr shows the names alone.
    """

    scheme: str = attrs.field(converter=_lower)
    token68: str | None = None
    params: Mapping[str, str] = attrs.field(factory=dict[str, str], converter=_read_only, hash=False)

    def __repr__(self) -> str:
        names = ", ".join(self.params)[:_MAX_NAMES]
        return f"Challenge({self.scheme[:_MAX_SCHEME]}{': ' if names else ''}{names})"


def parse(values: Iterable[str]) -> list[Challenge]:
    """Return the challenges of a response's ``WWW-Authenticate`` header lines, in their order.

    Several lines mean the same as one line with commas between them (RFC 9110 §5.3), but an unfinished quoted
    string ends with its line. Commas forgotten between parameters are tolerated, as are URLs without quotes.

    Args:
        values: The header's lines, ``response.headers.getall("WWW-Authenticate", ())``.

    Returns:
        What could be read: at most 64 challenges, from the first 65,536 characters. Empty if nothing could.
        Never raises, and takes time in proportion to the text.
    """
    drafts: list[tuple[str, str | None, dict[str, str]]] = []
    left = _MAX_TEXT
    for value in values:
        for opens, name, text in _parts(value[:left]):
            if opens:
                if len(drafts) == _MAX_CHALLENGES:
                    return [Challenge(*draft) for draft in drafts]
                drafts.append((name, text, {}))
            elif drafts and text is not None:
                drafts[-1][2].setdefault(name.lower(), text)
        left -= len(value) + 1  # an empty line costs as well, or there could be any number of them
        if left <= 0:
            break
    return [Challenge(*draft) for draft in drafts]


class Reason(enum.Enum):
    """What a 401 says about its reason."""

    OWN = "own"
    """The token, whose own scheme a challenge names; or there is no challenge. Another token may help."""
    FOREIGN = "foreign"
    """The challenges name only schemes other than Bearer and DPoP. Some servers answer an expired or revoked token with
    ``OAuth2``, ``Basic`` or ``Token``, so another token may help; or the resource wants credentials of another kind."""
    OTHER = "other"
    """Something that another token would not change: a scope, a step-up, the request, the proof."""


def reason_of(values: Iterable[str]) -> Reason:
    """Return what a 401 says about its reason, if the request carried a token.

    Args:
        values: The 401's ``WWW-Authenticate`` header lines; none, empty ones and unreadable ones are fine.

    Returns:
        `Reason.OTHER` if a Bearer or DPoP challenge carries ``claims`` (a step-up that only the user can make) or the
        ``error`` ``insufficient_scope``, ``invalid_request``, ``insufficient_user_authentication``,
        ``use_dpop_nonce`` or ``invalid_dpop_proof``; `Reason.FOREIGN` if there are challenges, and none of these two
        schemes; `Reason.OWN` otherwise.

    Source: RFC 6750 §3.1, RFC 9449 §7.1 (DPoP), RFC 9470 §3.
    """
    challenges = parse(values)
    ours = [challenge for challenge in challenges if challenge.scheme in _TOKEN_SCHEMES]
    if any(
        "claims" in challenge.params or challenge.params.get("error", "").lower() in _NOT_THE_TOKEN
        for challenge in ours
    ):
        return Reason.OTHER
    return Reason.FOREIGN if challenges and not ours else Reason.OWN


def wants_dpop_nonce(values: Iterable[str]) -> bool:
    """Return whether a 401 asks for a proof with the server's nonce (RFC 9449 §9).

    Args:
        values: The 401's ``WWW-Authenticate`` header lines.
    """
    return any(each.scheme == "dpop" and each.params.get("error") == "use_dpop_nonce" for each in parse(values))


class _Part(NamedTuple):
    """A piece of the header: the opening of a challenge, or a parameter."""

    opens: bool
    name: str
    text: str | None  # the opening's token68, if it has one; the parameter's value, if it can be read


def _parts(line: str) -> Iterator[_Part]:
    """Yield what one header line holds. Each round consumes at least one character."""
    position = 0
    while True:
        gap = _end(_GAP, line, position)
        # A challenge opens only an element of the list. A parameter may also follow a forgotten comma.
        first = position == 0 or "," in line[position:gap]
        if gap == len(line):
            return
        name = _TOKEN().match(line, gap)
        if name is None:
            position = _end(_ELEMENT, line, gap)
            continue
        after = _end(_BLANKS, line, name.end())
        if line.startswith("=", after):
            text, position = _value(line, _end(_BLANKS, line, after + 1))
            yield _Part(opens=False, name=name[0], text=text)
        elif first and (after > name.end() or _element_ends(line, after)):
            text, position = _token68(line, after)
            yield _Part(opens=True, name=name[0], text=text)
        else:
            position = _end(_ELEMENT, line, gap)


def _value(line: str, position: int) -> tuple[str | None, int]:
    """Return the value that starts at a position, ``None`` if it can't be read, and where it ends."""
    quoted = _QUOTED().match(line, position)
    if quoted is not None:
        return _ESCAPE().sub(r"\1", quoted[1]), quoted.end()
    bare = _BARE().match(line, position)
    if bare is not None:
        return bare[0], bare.end()
    return None, _end(_ELEMENT, line, position)


def _token68(line: str, position: int) -> tuple[str | None, int]:
    """Return the token68 that is all of an element from a position on, and where it ends; or ``None``.

    ``abc=`` is a token68, ``abc=x`` and ``abc = x`` are parameters.
    """
    match = _TOKEN68().match(line, position)
    if match is not None and _element_ends(line, _end(_BLANKS, line, match.end())):
        return match[0], match.end()
    return None, position


def _element_ends(line: str, position: int) -> bool:
    return position == len(line) or line[position] == ","


def _end(expression: Callable[[], re.Pattern[str]], line: str, position: int) -> int:
    """Return where a pattern that may match nothing ends."""
    match = expression().match(line, position)
    return position if match is None else match.end()
