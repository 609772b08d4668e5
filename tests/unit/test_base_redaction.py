"""What the redactor recognises of a secret, what it leaves, and what that costs."""

from __future__ import annotations

import base64
import html
import json
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncauth._base.redaction import Redactor

SECRET = "hunter2abcDEF/ghi_jkl%mno&pqr's🦊"
SIZE = 1 << 16

SPELLINGS: list[Callable[[str], str]] = [
    lambda char: char,
    lambda char: quote(char, safe=""),
    lambda char: "".join(f"%{byte:02x}" for byte in char.encode()),
    lambda char: "".join(f"%25{byte:02X}" for byte in char.encode()),
    lambda char: "".join(f"\\x{byte:02x}" for byte in char.encode()),
    lambda char: "".join(f"\\u{unit:04x}" for unit in memoryview(char.encode("utf-16-le")).cast("H")),
    lambda char: "".join(f"%u{unit:04X}" for unit in memoryview(char.encode("utf-16-le")).cast("H")),
    lambda char: json.dumps(char)[1:-1].replace("/", "\\/"),
    lambda char: json.dumps(json.dumps(char)[1:-1])[1:-1],
    lambda char: quote(json.dumps(char)[1:-1], safe=""),
    html.escape,
    lambda char: html.escape(html.escape(char)),
    lambda char: f"&#{ord(char)};",
    lambda char: f"&#x00{ord(char):X};",
    lambda char: quote(f"&#{ord(char)};"),
    lambda char: char.upper() if char.isascii() else char,
    lambda char: f"{char}\n",
    lambda char: f"\r\n {char}",
    lambda char: f"{char}\\n",
    lambda char: f"{char}\u200b",
    lambda char: f"{char}\u00ad",
    lambda char: f"{char}&shy;",
    lambda char: f"{char}-\n",
    lambda char: f"{char}\0",
]


@pytest.mark.parametrize(
    ("value", "text", "left"),
    [
        ("my-api-key-1", "no my-api-key-1 here", "no … here"),
        ("my-api-key-1", "no bXktYXBpLWtleS0x here", "no … here"),
        ("pin-7", "is PIN-7 wrong? pin-7.", "is … wrong? …."),
        ("r34d", "r34d is no scope: spr34d, r34ding", "… is no scope: spr34d, r34ding"),
        ("role", "invalid role or secret ID", "invalid role or secret ID"),
        ("me", "some message for me", "some message for me"),
        ("client_credentials", "the client credentials are wrong", "the client credentials are wrong"),
        ("password", "wrong password", "wrong password"),
    ],
)
def test_what_may_be_an_ordinary_word(value: str, text: str, left: str) -> None:
    """A value that need not be secret is taken out, but no ordinary phrase, and no part of another word."""
    assert Redactor((), (value,)).text(text) == left


@pytest.mark.parametrize(
    "echo",
    [
        SECRET[1:],
        SECRET[:-1],
        "hunter2abc*****",
        f"{SECRET[:12]}\n{SECRET[12:]}",
        quote(quote(SECRET, safe=""), safe=""),
        "".join(f"%{byte:02X}" for byte in SECRET.encode()),
        SECRET.upper(),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(f"user:{SECRET}".encode()).decode().rstrip("="),
        base64.b64encode(f"me:{SECRET}!".encode()).decode(),
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        SECRET.encode("utf-16-le").decode("latin-1").replace("\xd8", "").replace("\xdd", ""),
    ],
)
def test_what_is_recognised(echo: str) -> None:
    """What is left of an echo is not enough to know the secret, and what surrounds it stays."""
    left = Redactor((SECRET,)).text(f"you sent ({echo}), which is wrong")
    assert left.startswith("you sent (")
    assert left.endswith("), which is wrong")
    assert len(left) < len("you sent (), which is wrong") + 16


@settings(deadline=None)
@given(st.text("abcXYZ019!\"#$'()*,./:;<=>?@[]^_`{|}~ñ🦤", min_size=8, max_size=24), st.data())
def test_no_eight_characters_survive_in_any_spelling(secret: str, data: st.DataObject) -> None:
    """However each character is spelled, no 8 in a row of a secret are left, and neither is their spelling."""
    start = data.draw(st.integers(0, len(secret) - 8))
    part = secret[start : data.draw(st.integers(start + 8, len(secret)))]
    ways = data.draw(st.lists(st.sampled_from(SPELLINGS), min_size=len(part), max_size=len(part)))
    spelled = [way(char) for way, char in zip(ways, part, strict=True)]
    text = Redactor((secret,)).text("".join(("no: ", *spelled, ".")))
    assert not any(secret[at : at + 8] in text for at in range(len(secret) - 7))
    assert not any("".join(spelled[at : at + 8]).strip("\r\n \\") in text for at in range(len(part) - 7))


@settings(deadline=None)
@given(
    st.text(st.characters(max_codepoint=0x7F) | st.sampled_from("%\\&;#xu0123-+ ñ"), min_size=8, max_size=24), st.data()
)
@example("0000%00 0", None)
def test_no_eight_characters_survive_as_they_are(secret: str, data: st.DataObject | None) -> None:
    """Whatever a secret consists of and whatever stands beside it, no 8 characters in a row of it are left."""
    before, after = ("", "") if data is None else (data.draw(st.text("%\\&#4;", max_size=4)) for _ in range(2))
    text = Redactor((secret,)).text(before + secret + after)
    assert not any(secret[at : at + 8] in text for at in range(len(secret) - 7))


@given(st.text(), st.lists(st.text(max_size=20), max_size=4))
def test_what_holds_no_secret_stays(text: str, secrets: list[str]) -> None:
    """A text is not changed but for secrets: with none to find, it stays as it is."""
    assert Redactor(()).text(text) == text
    redactor = Redactor(secrets)
    once = redactor.text(text, "…")
    assert redactor.data(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass") == once


@given(st.binary(max_size=200), st.lists(st.text(max_size=20), max_size=4))
def test_bytes_that_are_no_text(data: bytes, secrets: list[str]) -> None:
    """Bytes need not be UTF-8."""
    Redactor(secrets).data(data, b"-")


INVISIBLE = (
    *(0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x1680, 0x17B4, 0x17B5, 0x2800, 0x3000, 0x3164, 0xFEFF, 0xFFA0),
    *range(0x180B, 0x1810),
    *range(0x2000, 0x2010),
    *range(0x2028, 0x2030),
    *range(0x205F, 0x2070),
    *range(0xFE00, 0xFE10),
    *range(0xFFF0, 0xFFFC),
    *range(0x1BCA0, 0x1BCA4),
    *range(0x1D173, 0x1D17B),
    *range(0xE0000, 0xE01F0),
)


def test_characters_that_show_nothing_hide_no_secret() -> None:
    """Spaces, fillers, format controls and variation selectors of Unicode, also as HTML writes them."""
    redactor = Redactor((SECRET,))
    for code in INVISIBLE:
        for gap in (chr(code), f"&#x{code:x};"):
            assert SECRET[4:9] not in redactor.text(SECRET[:4] + gap + SECRET[4:9] + gap + SECRET[9:]), hex(code)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Wrong email or password.", "Wrong email or password."),
        ("the access_token is no refresh token", "the access_token is no refresh token"),
        ("not password12 but Password123!", "not … but …!"),
        ("see https://login.example.com/password", "see https://login.example.com/password"),
    ],
)
def test_ordinary_words_stay(text: str, left: str) -> None:
    """A word of servers' own messages is not taken out because a secret contains it."""
    assert Redactor(("password123", "my-access-token-1", "refreshtoken2")).text(text) == left


def test_a_secret_that_is_an_ordinary_word() -> None:
    """A secret that is itself such a word is taken out: how it reads is its owner's choice."""
    assert Redactor(("password",)).text("Wrong password.") == "Wrong …."


def test_the_lines_around_a_key_are_no_secret() -> None:
    """A key in PEM is recognised by what it holds, not by the lines around it, which all keys have."""
    key = f"-----BEGIN PRIVATE KEY-----\n{'Zm9vYmFyYmF6' * 8}\n-----END PRIVATE KEY-----\n"
    redactor = Redactor((key,))
    assert redactor.text("is it in PEM (-----BEGIN PRIVATE KEY-----)?") == "is it in PEM (-----BEGIN PRIVATE KEY-----)?"
    assert redactor.text(json.dumps(key)) == r'"-----BEGIN PRIVATE KEY-----\n…END PRIVATE KEY-----\n"'


@pytest.mark.parametrize(
    ("secret", "text", "left"),
    [
        ("pin", "Your PIN, pin%20or p-i-n", "Your …, …or …"),
        ("pin", "cGlu or &#112;in", "… or …"),
        ("12345678", "1234567 and 123456789", "1234567 and …9"),
        ("", "nothing", "nothing"),
        ("aaaaaaaaaa", "aaaaaaaaa aaaaaaaaa", "…"),
        ("hunter2abc", '{"a":"hunter2abc","b":"hunter2abc\\"x"}', '{"a":"…","b":"…\\"x"}'),
        ("hunter2abc", "hunter2abc is wrong", "… is wrong"),
        ("éñandúñandú", "éñandúñandú! é", "…! é"),
        ("fox🦊abcd", r"(fox\ud83e\udd8aabcd) (fox%ud83e%uDD8Aabcd) (fo\x78\ud83e\\udd8aabcd)", "(…) (…) (…)"),
        ("abcdefgé", "xabcdefgèx", "x…x"),
        (r'M 7&+WL+<\r"EFT8', r'\u004d 7&+\u0057L+<\\u0072"EFT\u0038!', "…!"),
        ("©hunter2xyz", "é#hunter2xyz ©hunter2xyz \u4ea9hunter2xyz", "é#… … …"),
    ],
)
def test_what_is_left(secret: str, text: str, left: str) -> None:
    """A secret goes as a whole, one gap in its place, and what surrounds it stays, in UTF-8 and in JSON."""
    assert Redactor((secret,)).text(text) == left


@pytest.mark.parametrize(
    "entity", ["&nosuchname;", "&#x110000;", "&nGt;", "&;", "&#;", "\\q", "%zz", "%u12", "&#xD83E;"]
)
def test_what_spells_nothing(entity: str) -> None:
    """Text that only looks like an encoded character hides no secret and causes no error."""
    assert Redactor(("hunter2abc",)).text(f"{entity}hunter2abc{entity}") == f"{entity}…{entity}"


def test_spellings_inside_one_another() -> None:
    """Four spellings inside one another are undone; what somebody wrapped more often is not recognised."""
    echo = "hunter2abc"
    for deep in range(5):
        left = Redactor(("hunter2abc",)).text(f"no: {echo}.")
        assert left == "no: …."
        echo = "".join(f"&#{ord(char)};" if deep % 2 else f"%{ord(char):02x}" for char in echo)
    assert Redactor(("hunter2abc",)).text(echo) == echo


def test_no_representation_shows_a_secret() -> None:
    """A redactor knows all secrets and shows none."""
    redactor = Redactor((SECRET,))
    assert "hunter" not in repr(redactor)
    assert not hasattr(redactor, "__dict__")


# --- What it costs


def filled(unit: str, size: int) -> str:
    return unit * (size // len(unit.encode()))


HOSTILE: dict[str, Callable[[int], str]] = {
    "punctuation": lambda size: filled("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", size),
    "most of the secret": lambda size: filled(SECRET[:-1] + "!", size),
    "the secret": lambda size: filled(SECRET, size),
    "seven characters": lambda size: filled(SECRET[:7] + "!", size),
    "percent": lambda size: filled("%41a", size),
    "percent in percent": lambda size: "%" + "25" * (size // 2),
    "backslashes": lambda size: "\\" * size,
    "backslashes and blanks": lambda size: filled("\\ ", size),
    "units": lambda size: "".join(f"\\u{0x80 + n % 0xD000:04x}" for n in range(size // 6)),
    "entities": lambda size: "".join(f"&#{n:05d};" for n in range(size // 8)),
    "names": lambda size: "".join(f"&a{n:05d};" for n in range(size // 8)),
    "ampersands": lambda size: filled("&amp;", size),
    "zeros": lambda size: "&#" + "0" * size,
    "one in another": lambda size: filled("%26%2337%3B41&#x5c;u0041", size),
    "alternating": lambda size: filled("".join(SPELLINGS[n % 14](c) for n, c in enumerate(SECRET)), size),
    "invisible": lambda size: filled("a\u200b\u00ad", size),
}


def steps(text: str, secrets: tuple[str, ...]) -> float:
    """Return the least CPU time that a search took, in seconds: noise only ever adds to it."""
    redactor, taken = Redactor(secrets), []
    for _ in range(3):
        started = time.thread_time()
        redactor.text(text)
        taken.append(time.thread_time() - started)
    return min(taken)


@pytest.mark.parametrize("secret", [SECRET, "pin", base64.b64encode(bytes(range(256)) * 48).decode()], ids=len)
@pytest.mark.parametrize("shape", HOSTILE)
def test_time_grows_as_the_text_does(shape: str, secret: str) -> None:
    """A hostile text of 64 KiB takes some four times as long as one of 16 KiB, and not sixteen times."""
    short, long = (steps(HOSTILE[shape](size), (secret,)) for size in (SIZE // 4, SIZE))
    assert long < 9 * short + 0.005


def test_time_grows_as_the_secret_does() -> None:
    """A secret of 16 KiB, such as a signed assertion, takes some four times as long as one of 4 KiB."""
    taken = {}
    for size in (SIZE // 16, SIZE // 4):
        secret = "".join(chr(0x21 + n * n % 90) for n in range(size))
        taken[size] = min(_prepared(secret) for _ in range(5))
    assert taken[SIZE // 4] < 9 * taken[SIZE // 16] + 0.005


def _prepared(secret: str) -> float:
    started = time.thread_time()
    Redactor((secret,))
    return time.thread_time() - started
