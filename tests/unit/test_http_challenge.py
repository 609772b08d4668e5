from __future__ import annotations

import time

import attrs
import pytest
from harness.canary import MARK

from asyncauth._http.challenge import Challenge, Reason, parse, reason_of, wants_dpop_nonce


def bearer(**params: str) -> Challenge:
    return Challenge("bearer", None, params)


BASIC = Challenge("basic", None, {"realm": "x"})


# --- what RFC 9110 allows


@pytest.mark.parametrize(
    ("lines", "challenges"),
    [
        ([], []),
        (["Bearer"], [bearer()]),
        (["BEARER"], [bearer()]),
        (['Bearer realm="api"'], [bearer(realm="api")]),
        (["Bearer realm=api"], [bearer(realm="api")]),
        (['Bearer REALM="Api", Error=invalid_token'], [bearer(realm="Api", error="invalid_token")]),
        # RFC 9110 §11.6.1's own example.
        (
            ['Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""'],
            [
                Challenge("basic", None, {"realm": "simple"}),
                Challenge("newauth", None, {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
            ],
        ),
        # Commas, escapes and whole challenges inside a quoted string.
        (
            ['Bearer realm="a, Basic realm=\\"b\\", c\\\\", scope="x y"'],
            [bearer(realm='a, Basic realm="b", c\\', scope="x y")],
        ),
        (['Bearer realm=""'], [bearer(realm="")]),
        # Blanks around "=", and around commas.
        (['Bearer realm = "a"\t,\terror =\tb ,Basic  realm= "x"'], [bearer(realm="a", error="b"), BASIC]),
        # Empty list elements.
        ([", ,, Bearer ,, , Basic realm=x,,"], [bearer(), BASIC]),
        ([',Bearer realm="a",, error="b",'], [bearer(realm="a", error="b")]),
        ([","], []),
        # Schemes without parameters beside others.
        (["Negotiate, NTLM, Bearer"], [Challenge("negotiate"), Challenge("ntlm"), bearer()]),
        # token68: the padding is no "name=".
        (["Negotiate YII="], [Challenge("negotiate", "YII=")]),
        (["Negotiate YII=="], [Challenge("negotiate", "YII==")]),
        (["Negotiate a+/b~c-d._ , Bearer"], [Challenge("negotiate", "a+/b~c-d._"), bearer()]),
        (["Negotiate YII==, Basic realm=x"], [Challenge("negotiate", "YII=="), BASIC]),
        (["Bearer, Negotiate YII="], [bearer(), Challenge("negotiate", "YII=")]),
        (["Bearer a=b"], [bearer(a="b")]),
        (["Bearer error="], [Challenge("bearer", "error=")]),
        # Several lines are one list.
        (['Bearer realm="a"', "Basic realm=x"], [bearer(realm="a"), BASIC]),
        (['Bearer realm="a"', 'error="b"'], [bearer(realm="a", error="b")]),
        (["", " ", "Bearer", "\t"], [bearer()]),
        # Of a name that comes twice the first value counts.
        (['Bearer error="a", ERROR="b"'], [bearer(error="a")]),
    ],
)
def test_parse_reads_the_whole_grammar(lines: list[str], challenges: list[Challenge]) -> None:
    """Whatever RFC 9110 allows in WWW-Authenticate comes out as the challenges that it means."""
    assert parse(lines) == challenges


# --- what servers send besides


@pytest.mark.parametrize(
    ("lines", "challenges"),
    [
        # Unquoted URLs and padding.
        (
            ["Bearer authorization_uri=https://login.example/x?a=b, nonce=YII=="],
            [bearer(authorization_uri="https://login.example/x?a=b", nonce="YII==")],
        ),
        # Forgotten commas.
        (
            ['Bearer realm="a" error="b"error_description=c'],
            [bearer(realm="a", error="b", error_description="c")],
        ),
        # Only a comma, or the line's beginning, lets a challenge open.
        (['Bearer realm="a" Basic realm="x"'], [bearer(realm="a")]),
        (["Bearer Basic realm=x"], [bearer()]),
        # A value that is missing or unfinished is as good as absent; the next line is whole.
        (["Bearer realm=x, error=, scope=y"], [bearer(realm="x", scope="y")]),
        (["Bearer error = "], [bearer()]),
        (["Bearer realm=a, error="], [bearer(realm="a")]),
        (['Bearer realm=a, error="b, Basic realm=x', "Basic realm=x"], [bearer(realm="a"), BASIC]),
        (['Bearer error="b\\'], [bearer()]),
        (['Bearer error="b\\"'], [bearer()]),
        # Parameters after a token68 are not lost, though the grammar has no such thing.
        (["Bearer x=, error=y"], [Challenge("bearer", "x=", {"error": "y"})]),
        # Garbage ends at the next comma outside quotes.
        (['Bearer realm=a, @@ "x, y" z, error=b'], [bearer(realm="a", error="b")]),
        (['Bearer: realm="a", Basic realm=x'], [BASIC]),
        (["Bearer @, Basic realm=x"], [bearer(), BASIC]),
        (['Bearer "a, b", error=c'], [bearer(error="c")]),
        (['"Bearer, Basic realm=x'], []),
        (["realm=x, error=y"], []),
        (["=x"], []),
        (["<html>"], []),
        (["\x00\r\n\ud800"], []),
        (["Bearer\n"], []),
    ],
)
def test_parse_makes_the_best_of_the_rest(lines: list[str], challenges: list[Challenge]) -> None:
    """What the grammar doesn't allow is read where its meaning is plain, and else skipped by itself."""
    assert parse(lines) == challenges


def test_parse_stops_at_64_challenges() -> None:
    """The 65th challenge and all that follows, its parameters included, is not looked at."""
    lines = [f"S{number} n={number}" for number in range(70)]
    found = parse(lines)
    assert [challenge.scheme for challenge in found] == [f"s{number}" for number in range(64)]
    assert found[-1].params == {"n": "63"}
    assert parse([", ".join(lines)]) == found
    assert len(parse(lines[:63])) == 63
    assert len(parse(lines[:64])) == 64


def test_parse_looks_at_the_first_64_kib() -> None:
    """Of all lines together, the first 65,536 characters are looked at, a line's end counting as one."""
    filler = "x" * (65_536 - 1 - len("Bearer"))
    assert parse([f"@{filler[1:]}", "Bearer"]) == [bearer()]
    assert parse([f"@{filler}", "Bearer"]) == [Challenge("beare")]
    assert parse([f"@{'x' * 65_535}", "Bearer"]) == []
    assert parse([""] * 65_535 + ["Bearer"]) == [Challenge("b")]
    assert parse([""] * 65_536 + ["Bearer"]) == []


@pytest.mark.parametrize(
    "unit",
    [
        '"',
        "\\",
        '\\"',
        'a="',
        'a="\\',
        ",",
        " ",
        "a ",
        "a=",
        "a,",
        "a b",
        "a=,",
        '""',
        '"a',
        "=",
        "\t,",
        '@"',
        'a=b"',
        "A a= ",
    ],
)
@pytest.mark.parametrize("start", ["", 'Bearer a="', "Bearer "])
def test_parse_takes_linear_time(unit: str, start: str) -> None:
    """64 KiB of any repeated pattern are read in a fraction of a second: nothing backtracks."""
    line = (start + unit * 65_536)[:65_536]
    before = time.process_time()
    parse([line])
    assert time.process_time() - before < 1.0  # quadratic would take minutes


# --- Challenge


def test_challenge_lowers_its_scheme() -> None:
    """Schemes compare in lower case, however they were written."""
    assert Challenge("DPoP") == Challenge("dpop", None, {})


def test_challenge_is_frozen_through_and_through() -> None:
    """Neither a challenge nor its parameters can be changed, not even through the mapping it was made of."""
    params = {"realm": "x"}
    challenge = Challenge("basic", None, params)
    params["realm"] = "y"
    assert challenge == BASIC
    assert hash(challenge) == hash(BASIC)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        challenge.scheme = "bearer"  # type: ignore[misc]
    with pytest.raises(TypeError):
        challenge.params["realm"] = "y"  # type: ignore[index]


def test_challenge_repr_shows_names_alone() -> None:
    """The repr holds the scheme and the parameters' names, no value and no token68."""
    assert repr(bearer(realm=MARK, nonce=MARK)) == "Challenge(bearer: realm, nonce)"
    assert repr(Challenge("Negotiate", MARK)) == "Challenge(negotiate)"


def test_challenge_repr_is_short() -> None:
    """A hostile header can't make a repr long."""
    line = "S" * 10_000 + " " + ", ".join(f"{'n' * 100}{number}=x" for number in range(100))
    assert len(repr(parse([line])[0])) <= 130


# --- reason_of


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [""],
        [" , "],
        ["@@@"],
        ["\x00"],
        ['"Basic realm=x'],
        ["Bearer"],
        ["bearer"],
        ["DPoP"],
        ['Bearer realm="api"'],
        ['Bearer error="invalid_token"'],
        ['Bearer error=""'],
        ['Bearer error_description="insufficient_scope"'],
        ['Bearer realm="error=insufficient_scope"'],
        ['Bearer error="insufficient_scope'],
        ["Basic realm=x, Bearer"],
        ["Basic realm=x", "Bearer"],
        ['Basic error="insufficient_scope", Bearer error="invalid_token"'],
        ['Basic claims="x", Bearer'],
        ["Negotiate YII=, Bearer"],
    ],
)
def test_a_401_is_explained_by_the_token(lines: list[str]) -> None:
    """A 401 is the token's fault unless the server says otherwise, and silence says nothing."""
    assert reason_of(lines) is Reason.OWN


@pytest.mark.parametrize(
    "lines",
    [
        ["Basic"],
        ['Basic realm="x"'],
        ['BASIC realm="Service-now"'],
        ["Token"],
        ["Negotiate, NTLM"],
        ["Negotiate", "NTLM"],
        ['Digest realm="Bearer", nonce="x"'],
        ['OAuth2 realm="WSO2 API Manager", error="invalid_token", error_description="The access token expired"'],
        ["OAuth realm='OAuth API', error='invalid_token'"],
        ['Basic error="insufficient_scope", claims="x"'],
    ],
)
def test_a_401_whose_challenges_are_foreign(lines: list[str]) -> None:
    """A 401 that names only other schemes may still be about the token, whatever their parameters say."""
    assert reason_of(lines) is Reason.FOREIGN


@pytest.mark.parametrize(
    "lines",
    [
        ['Bearer error="insufficient_scope"'],
        ["Bearer error=insufficient_scope"],
        ["Bearer ERROR=Insufficient_Scope"],
        ['Bearer error="insufficient\\_scope"'],
        ['Bearer error="invalid_request"'],
        ['Bearer error="insufficient_user_authentication", acr_values="x"'],
        ['Bearer realm="", error="insufficient_claims", claims="eyJ9"'],
        ['Bearer claims=""'],
        ['DPoP error="insufficient_scope"'],
        ['DPoP error="use_dpop_nonce"'],
        ['DPoP error="invalid_dpop_proof"'],
        ['Basic realm="x", Bearer error="insufficient_scope"'],
        ['Bearer realm="a"', 'Bearer error="insufficient_scope"'],
    ],
)
def test_a_401_is_explained_by_something_else(lines: list[str]) -> None:
    """A 401 is not the token's fault if a challenge of its own scheme says so: another token would get it too."""
    assert reason_of(lines) is Reason.OTHER


def test_reason_takes_any_iterable() -> None:
    """The header's lines may come from a generator, and are read once."""
    assert reason_of(line for line in ("Basic realm=x",)) is Reason.FOREIGN


@pytest.mark.parametrize(("scheme", "names"), [(31, 79), (32, 80), (33, 81)])
def test_challenge_repr_to_the_character(scheme: int, names: int) -> None:
    """32 characters of the scheme, and 80 of the parameters' names."""
    shown = repr(Challenge("s" * scheme, None, {"n" * names: "x"}))
    assert (shown.count("s"), shown.removeprefix("Challenge(").count("n")) == (min(scheme, 32), min(names, 80))


@pytest.mark.parametrize(
    ("lines", "wants"),
    [
        (['DPoP error="use_dpop_nonce"'], True),
        (['Bearer realm="x"', 'DPoP algs="ES256", error="use_dpop_nonce"'], True),
        (['DPoP error="invalid_token"'], False),
        (["DPoP"], False),
        (['Bearer error="use_dpop_nonce"'], False),
        (['Bearer error="use_dpop_nonce"', 'DPoP error="invalid_token"'], False),
        ([], False),
    ],
)
def test_only_a_dpop_challenge_asks_for_a_nonce(lines: list[str], *, wants: bool) -> None:
    """RFC 9449 §9: the error ``use_dpop_nonce``, in a challenge of the scheme DPoP."""
    assert wants_dpop_nonce(lines) is wants
