"""The reason that a 401 gives: a parser of ``WWW-Authenticate``.

The header is a list of challenges, each of which has a list of parameters, and commas separate the items of both lists.
Only the text after it shows whether ``x`` after a comma opens a challenge or names a parameter. In addition, there may
be several header lines, commas and escapes inside quoted strings, blanks around ``=``, and empty list elements.

Any server on the way may have written it, not only the API. So no content of it raises, each character is read a fixed
number of times, and only the first 64 KiB and 64 challenges are read. An unreadable part is skipped up to the next
comma.
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

_MAX_TEXT: Final = 65_536  # characters over all header lines; aiohttp accepts 8 KiB per line
_MAX_CHALLENGES: Final = 64
_MAX_SCHEME: Final = 32  # characters in a repr
_MAX_NAMES: Final = 80  # characters in a repr

_TOKEN_SCHEMES: Final = frozenset({"bearer", "dpop"})
# A new token of the same kind would meet the same answer: RFC 6750 §3.1, RFC 9470 §3. Nor does a new token fix a proof
# (RFC 9449 §7.1, §9), since each request has a proof of its own.
_NOT_THE_TOKEN: Final = frozenset(
    {
        "insufficient_scope",
        "insufficient_user_authentication",
        "invalid_request",
        "use_dpop_nonce",
        "invalid_dpop_proof",
    }
)

# Linear on any input: no text matches in two ways. The runs inside a repeated group are possessive (++); otherwise an
# unfinished quoted string would be tried in each way to cut it into pieces. The groups themselves are not possessive:
# before 3.11.5, Python had a bug in possessive groups.
_GAP: Final = pattern(r"[ \t,]*")
_BLANKS: Final = pattern(r"[ \t]*")
_TOKEN: Final = pattern(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TOKEN68: Final = pattern(r"[A-Za-z0-9\-._~+/]+=*")
_QUOTED: Final = pattern(r'"((?:[^"\\]++|\\.)*)"', re.DOTALL)
_ESCAPE: Final = pattern(r"\\(.)", re.DOTALL)
# More than RFC 9110's token: some servers write authorization_uri=https://… without quotes.
_BARE: Final = pattern(r'[^ \t,"]+')
# Up to the next comma that is not inside quotes. A quote without an end hides everything after it.
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
        token68: The text after the scheme in place of parameters (``Negotiate YII=``); ``None`` (default): none.
        params: The parameters, with names in lower case, and values without quotes and escapes. Read-only. If a name
            occurs twice, the first value counts. Values may be nonces, so the repr shows only the names.
    """

    scheme: str = attrs.field(converter=_lower)
    token68: str | None = None
    params: Mapping[str, str] = attrs.field(factory=dict[str, str], converter=_read_only, hash=False)

    def __repr__(self) -> str:
        names = ", ".join(self.params)[:_MAX_NAMES]
        return f"Challenge({self.scheme[:_MAX_SCHEME]}{': ' if names else ''}{names})"


def parse(values: Iterable[str]) -> list[Challenge]:
    """Return the challenges of a response's ``WWW-Authenticate`` header lines, in their order.

    Several lines mean the same as one line with commas between them (RFC 9110 §5.3), but an unfinished quoted string
    ends with its line. Missing commas between parameters are accepted, as are URLs without quotes.

    Args:
        values: The header's lines, ``response.headers.getall("WWW-Authenticate", ())``.

    Returns:
        The readable challenges: at most 64, from the first 65,536 characters. Never raises, and takes time in
            proportion to the text.
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
        left -= len(value) + 1  # an empty line counts, too, or there could be any number of them
        if left <= 0:
            break
    return [Challenge(*draft) for draft in drafts]


class Reason(enum.Enum):
    """The reason that a 401 gives."""

    OWN = "own"
    """The token: a challenge names its scheme, or there is no challenge. Another token may help."""
    FOREIGN = "foreign"
    """The challenges name only schemes other than Bearer and DPoP.

    Some servers answer an expired or revoked token with ``OAuth2``, ``Basic`` or ``Token``, so another token may help;
    or the resource requires credentials of another kind.
    """
    OTHER = "other"
    """Something that another token would not change: a scope, a step-up, the request, the proof."""


def reason_of(values: Iterable[str]) -> Reason:
    """Return the reason that a 401 gives, if the request carried a token.

    Args:
        values: The 401's ``WWW-Authenticate`` header lines; there may be none, and they may be empty or unreadable.

    Returns:
        `Reason.OTHER` if a Bearer or DPoP challenge carries ``claims`` (a step-up that only the user can make) or the
        ``error`` ``insufficient_scope``, ``invalid_request``, ``insufficient_user_authentication``, ``use_dpop_nonce``
        or ``invalid_dpop_proof``. `Reason.FOREIGN` if there are challenges, but none with these two schemes. Otherwise
        `Reason.OWN`.

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
    """Return whether a 401 requires a proof with the server's nonce (RFC 9449 §9).

    Args:
        values: The 401's ``WWW-Authenticate`` header lines.
    """
    return any(each.scheme == "dpop" and each.params.get("error") == "use_dpop_nonce" for each in parse(values))


class _Part(NamedTuple):
    """A part of the header: the opening of a challenge, or a parameter."""

    opens: bool
    name: str
    text: str | None  # the opening's token68, if it has one; the parameter's value, if it is readable


def _parts(line: str) -> Iterator[_Part]:
    """Yield the parts of one header line. Each round consumes at least one character."""
    position = 0
    while True:
        gap = _end(_GAP, line, position)
        # Only at the start of an element does a challenge open. A parameter may also follow a missing comma.
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
    """Return the value at a position (``None``: it is unreadable), and where it ends."""
    quoted = _QUOTED().match(line, position)
    if quoted is not None:
        return _ESCAPE().sub(r"\1", quoted[1]), quoted.end()
    bare = _BARE().match(line, position)
    if bare is not None:
        return bare[0], bare.end()
    return None, _end(_ELEMENT, line, position)


def _token68(line: str, position: int) -> tuple[str | None, int]:
    """Return the token68 that fills an element from a position on, and where it ends; or ``None``.

    ``abc=`` is a token68; ``abc=x`` and ``abc = x`` are parameters.
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
