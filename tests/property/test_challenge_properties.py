from __future__ import annotations

import string
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from asyncauth._http.challenge import Challenge, Reason, parse, reason_of

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

TCHAR = "!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters
TOKEN68 = "-._~+/" + string.digits + string.ascii_letters

tokens = st.text(TCHAR, min_size=1, max_size=8)
pieces = st.sampled_from(
    [
        "Bearer",
        "DPoP",
        "Basic",
        "error",
        "claims",
        "insufficient_scope",
        "=",
        '"',
        "\\",
        ",",
        " ",
        "\t",
        "@",
        "a",
        "==",
    ]
)
lines = st.lists(st.text(max_size=40) | st.lists(pieces, max_size=30).map("".join), max_size=5)
blanks = st.text(" \t", max_size=2)
commas = st.builds("{},{}{}".format, blanks, st.sampled_from(["", ",", " ,\t"]), blanks)


@st.composite
def written(draw: DrawFn) -> tuple[str, Challenge]:
    """A challenge and one of the ways to write it."""
    scheme = draw(tokens)
    if draw(st.booleans()):
        token68 = draw(st.text(TOKEN68, min_size=1, max_size=8)) + draw(st.sampled_from(["", "=", "=="]))
        return f"{scheme} {token68}", Challenge(scheme, token68)
    params = draw(st.dictionaries(tokens.map(str.lower), st.text(max_size=8), max_size=4))
    texts: list[str] = []
    for name, value in params.items():
        bare = value != "" and all(char in TCHAR for char in value) and draw(st.booleans())
        text = value if bare else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        # A bare value is never empty: "Scheme name=" would be a token68.
        texts.append(f"{draw(st.sampled_from([name, name.upper()]))}{draw(blanks)}={draw(blanks)}{text}")
    line = scheme
    for number, text in enumerate(texts):
        line += (" " if number == 0 else draw(commas)) + text
    return line, Challenge(scheme, None, params)


@given(lines)
def test_parse_never_raises(values: list[str]) -> None:
    """Whatever stands in the header, what comes out is challenges with lower-case names, and a yes or no."""
    for challenge in parse(values):
        assert challenge.scheme
        assert challenge.scheme == challenge.scheme.lower()
        assert all(name == name.lower() for name in challenge.params)
        assert len(repr(challenge)) <= 130
    assert reason_of(values) in Reason


@given(st.lists(written(), max_size=5), st.data())
def test_generated_challenges_roundtrip(pairs: list[tuple[str, Challenge]], data: st.DataObject) -> None:
    """Challenges written in any way the grammar allows are read back, on one line or on several."""
    challenges = [challenge for _, challenge in pairs]
    assert parse(line for line, _ in pairs) == challenges
    joined = data.draw(st.sampled_from(["", ", ", " ,"]))
    for number, (line, _) in enumerate(pairs):
        joined += (data.draw(commas) if number else "") + line
    assert parse([joined]) == challenges


@given(st.lists(written(), min_size=1, max_size=5))
def test_only_the_tokens_own_schemes_say_more(pairs: list[tuple[str, Challenge]]) -> None:
    """Challenges of other schemes are foreign, however many there are, until one of the token's own stands beside."""
    others = [line for line, challenge in pairs if challenge.scheme not in {"bearer", "dpop"}]
    assert reason_of(others) is (Reason.FOREIGN if others else Reason.OWN)
    assert reason_of([*others, "Bearer"]) is Reason.OWN
    assert reason_of([*others, 'Bearer error="insufficient_scope"']) is Reason.OTHER
