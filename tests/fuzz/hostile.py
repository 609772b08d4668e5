"""What a hostile or broken server may send, as hypothesis strategies. Every fuzz test draws from here.

Two kinds of nonsense are mixed everywhere: what is almost right, which gets past the first checks, and what is not.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import attrs
from http_dates import DAYS, MONTHS, asctime, imf_fixdate, rfc850
from hypothesis import strategies as st

SECRET = "pass-word+2/'&<"
"""What the fuzzed providers prove themselves with. Hostile servers know it, and send it back."""
NOW = 1_700_000_000.0
"""What our wall clock says: 2023-11-14 22:13:20 UTC."""


# --- Texts and numbers

SPECIAL = (
    "",
    " ",
    "\0",
    "\r\n",
    "\ufeff",
    "\ud800",
    "\u2028",
    "ñ",
    "🦤",
    "١٢٣",
    "NaN",
    "Infinity",
    "null",
    "true",
    SECRET,
)
texts = st.text(max_size=30) | st.sampled_from(SPECIAL) | st.text("aA0. -+_eE:;=,\"'\\/\r\n\t\0é", max_size=30)
numbers = (
    st.integers(-(10**6), 10**20)
    | st.floats()
    | st.sampled_from([0, -1, 1e-9, 5e-324, 1e308, 10**308, 10**400, 2**63, 1e11, 1e14, NOW, NOW * 1000, NOW + 3600])
)
number_texts = st.from_regex(r"[+\- ]?[0-9]{0,20}\.?[0-9]*([eE][+-]?[0-9]{1,4})? ?", fullmatch=True) | numbers.map(str)
visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)


# --- HTTP dates: the three forms of RFC 9110 §5.6.7, and what nearly is one

moments = st.datetimes(timezones=st.just(UTC)) | st.integers(-100_000, 10**8).map(
    lambda ahead: datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC) + timedelta(seconds=ahead)
)
dates = st.builds(lambda form, moment: form(moment), st.sampled_from([imf_fixdate, rfc850, asctime]), moments)
date_pieces = st.sampled_from([
    *DAYS, *MONTHS, *(day[:3] for day in DAYS), ",", " ", "-", ":", "06", "31", "1994", "94", "0000", "24", "60", "GMT",
    "UTC", "+0300", "-2359", "Z", "1", "T", "2024-02-30", "2024-W01-1", "0001-01-01T00:00:00+14:00",
])  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[str]) -> str:
    """A text with a piece cut out, doubled, or replaced."""
    text = draw(whole)
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, len(text)))
    return text[:start] + draw(st.sampled_from(["", text[start:end] * 2]) | texts) + text[end:]


near_dates = (
    damaged(dates)
    | st.lists(date_pieces, max_size=12).map("".join)
    | st.lists(date_pieces, max_size=12).map(" ".join)
    | moments.map(datetime.isoformat)
)
all_dates = dates | near_dates
retry_afters = number_texts | all_dates | texts


# --- Challenges

challenge_pieces = st.sampled_from([
    "Bearer", "DPoP", "Basic", "Negotiate", "realm", "error", "claims", "insufficient_scope", "use_dpop_nonce", "=",
    '"', "\\", ",", " ", "\t", "@", "a", "==", "/", "é", "invalid_token", '"a, b"', "error_uri=https://a/b?c=d",
])  # fmt: skip
challenges = st.lists(texts | st.lists(challenge_pieces, max_size=30).map("".join), max_size=6)


# --- JWTs


def jwt(payload: bytes, *, header: str = "e30", signature: str = "c2ln") -> str:
    return f"{header}.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.{signature}"


claims = st.dictionaries(
    st.sampled_from(["exp", "iat", "nbf", "sub"]), numbers | number_texts | st.none() | st.lists(numbers, max_size=2)
)
jwts = (
    claims.map(lambda value: jwt(json.dumps(value).encode()))
    | st.binary(max_size=60).map(jwt)
    | st.sampled_from(["[" * 50_000, '{"exp":' + "9" * 5000 + "}", '{"exp":1e999,"iat":-1e999}', '{"exp":NaN}', "{}"])
    .map(str.encode)
    .map(jwt)
    | damaged(claims.map(lambda value: jwt(json.dumps(value).encode())))
    | st.sampled_from(["..", "a.b.c", "....", ".e30.", "e30.e30=.e30", "e30.====.e30"])
)


# --- JSON

leaves = st.none() | st.booleans() | numbers | texts | number_texts | visible | all_dates
json_values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=8
)
deep = st.builds(
    lambda depth, pair: json.loads(pair[0] * depth + "1" + pair[1] * depth),
    st.sampled_from([2, 60, 200, 400, 700]),
    st.sampled_from([("[", "]"), ('{"a":', "}")]),
)
FIELDS = (
    "access_token", "access_token_jwt", "token_type", "expires_in", "expires_at", "expiration_date", ".issued",
    ".expires", "refresh_token", "refresh_expires_in", "scope", "error", "error_description", "message", "data",
    "device_code", "user_code", "verification_uri", "verification_uri_complete", "verification_url", "interval",
    "issuer", "token_endpoint", "device_authorization_endpoint", "User", "items",
)  # fmt: skip
TOKENS = frozenset({"access_token", "access_token_jwt", "refresh_token", "device_code"})
_LIKELY: dict[str, st.SearchStrategy[object]] = {
    **dict.fromkeys(TOKENS, visible | jwts),
    "token_type": st.sampled_from(["bearer", "Bearer", "DPoP", "mac", "N_A"]),
    **dict.fromkeys((".issued", ".expires", "expires_at"), all_dates),
    **dict.fromkeys(("expires_in", "expiration_date", "interval", "refresh_expires_in"), numbers | number_texts),
    **dict.fromkeys(
        ("token_endpoint", "verification_uri", "device_authorization_endpoint"),
        st.sampled_from(["https://a.example/t", "http://a.example/t", "//", "https://u:p@a/", "https://[::1", "a", "https://a:99999/"]),
    ),
    "issuer": st.just("https://login.example.com"),
    "error": st.sampled_from(["invalid_grant", "invalid_client", "slow_down", "authorization_pending", "server_error"]),
}  # fmt: skip


@st.composite
def fields(draw: st.DrawFn) -> dict[str, object]:
    """A token answer's members: each may be right, of another type, or missing."""
    names = draw(st.sets(st.sampled_from(FIELDS), max_size=8)) | draw(
        st.sampled_from(
            [{"access_token"}, {"access_token_jwt"}, {"device_code", "user_code", "verification_uri"}, {""}]
        )
    )
    found: dict[str, object] = {}
    for name in sorted(names):
        likely = _LIKELY.get(name, texts)
        found[name] = draw(likely | likely | likely | json_values | deep)
    return found


@st.composite
def members(draw: st.DrawFn) -> bytes:
    """A JSON object as text: with names that come twice, in any layout, perhaps wrapped as some systems wrap it."""
    pairs = [(name, value) for _ in range(draw(st.integers(1, 2))) for name, value in draw(fields()).items()]
    written = ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs)
    text = draw(st.sampled_from(["{%s}", '{"data":{%s}}', '{"items":[{%s}]}', " \n{%s}\r\n"])) % written
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32"])))


HUGE = (
    b"", b"[]", b"null", b"NaN", b"{", b"\xff\xfe", b"\xef\xbb\xbf", b"{}" * 2, b"[" * 100_000, b'{"a":' * 100_000,
    b'{"access_token":"' + b"x" * 200_000 + b'"}',
    b'{"access_token":"t","expires_in":' + b"9" * 5000 + b"}",
    b'{"access_token":"t","expires_in":1' + b"0" * 400 + b"}",
    b'{"access_token":"t","a":[' + b"[]," * 10_000 + b"1]}",
    b'{"error":"' + b"x" * 900_000 + b'"}',
    b" " * (10 << 20),
    b"<a>" * 100_000, b"<items>" + b"<a/>" * 100_000 + b"</items>", b"<a " + b"b=''" * 100_000,
    b'<!DOCTYPE a [<!ENTITY x "' + b"y" * 100_000 + b'">]><a>' + b"&x;" * 100_000 + b"</a>",
    b"a=b&" * 200_000, b"&" * 900_000, b"access_token=" + b"%41" * 300_000, b"x" * 1_000_000, b"a b" * 300_000,
    b'{"items":"' + b'{\\"items\\":' * 50_000 + b'"}',
)  # fmt: skip


# --- XML, forms and texts


def _element(name: str, value: object) -> str:
    """Return a JSON value as an element, however deep."""
    written: list[str] = []
    left: list[str | tuple[str, object]] = [(name, value)]
    while left:
        part = left.pop()
        if isinstance(part, str):
            written.append(part)
            continue
        inner, held = part
        if isinstance(held, dict):
            written.append(f"<{inner}>")
            left += [f"</{inner}>", *reversed(held.items())]
        elif isinstance(held, list) and held:
            left += [(inner, each) for each in reversed(held)]
        else:
            written.append(f"<{inner}/>" if held == [] else f"<{inner}>{html.escape(str(held))}</{inner}>")
    return "".join(written)


xml_pieces = st.sampled_from([
    "<", ">", "/>", "</", "<a>", "</a>", "<a/>", "a", "=", '"', "&", ";", "&lt;", "&#65;", "&x;", "<!--", "-->",
    "<![CDATA[", "]]>", "<?xml version='1.0' encoding='", "utf-16", "latin-1", "'?>", "<!DOCTYPE a [", "]>",
    '<!ENTITY x "', '<!ENTITY x SYSTEM "file:///etc/hostname">', "xmlns:n='u'", "n:a", "<items>", "<access_token>t",
    "</access_token>", "é", "\0", "\ud800",
])  # fmt: skip
xml_texts = (
    fields().map(lambda members: _element("items", members))
    | damaged(fields().map(lambda members: _element("items", members)))
    | st.lists(xml_pieces, max_size=25).map("".join)
)
form_texts = fields().map(lambda members: urlencode(members, errors="surrogatepass")) | st.lists(
    st.sampled_from(["access_token", "=", "&", "%", "%41", "+", ";", "expires_in=60", " ", "é", "%ff"]), max_size=12
).map("".join)
charsets = st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1", "gbk", "shift_jis", "utf-7", "cp1252"])
other_bodies = st.builds(
    lambda text, charset: text.encode(charset, "replace"), xml_texts | form_texts | texts | visible, charsets
)

bodies = (
    members()
    | members()
    | members()
    | other_bodies
    | st.binary(max_size=60)
    | json_values.map(lambda value: json.dumps(value).encode())
)


# --- Answers

header_texts = texts.filter(lambda text: text.isprintable()) | st.sampled_from(["x" * 5000, ", " * 2000])


@attrs.frozen
class Answer:
    """One answer of a token endpoint: what a client sees of it, or is sent."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def on_the_wire(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} Answer", *(f"{name}: {value}" for name, value in self.headers), "", ""]
        return "\r\n".join(lines).encode("utf-8", "surrogatepass") + self.body


statuses = st.sampled_from(
    [200, 200, 200, 201, 204, 206, 301, 307, 400, 401, 403, 404, 408, 418, 425, 429, 500, 503, 599, 999]
)
header_lists = st.lists(
    st.tuples(st.just("Date"), all_dates | header_texts)
    | st.tuples(st.just("Age"), number_texts | header_texts)
    | st.tuples(st.sampled_from(["Retry-After", "X-RateLimit-Reset", "RateLimit-Remaining"]), retry_afters)
    | st.tuples(st.sampled_from(["DPoP-Nonce", "WWW-Authenticate", "Set-Cookie", "Location"]), header_texts)
    | st.tuples(
        st.just("Content-Type"),
        st.sampled_from(["text/html", "text/xml", "application/json; charset=utf-7", "x", "a/b;;charset="])
        | charsets.map("application/json; charset={}".format),
    ),
    max_size=6,
)  # fmt: skip
answers = st.builds(Answer, statuses, header_lists.map(tuple), bodies)


# --- Bytes on a socket


_CODINGS: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    ("gzip", lambda body: gzip.compress(body, mtime=0)),
    ("deflate", zlib.compress),
    ("br", bytes),
)


def _chunked(body: bytes, size: int) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@st.composite
def wires(draw: st.DrawFn) -> bytes:
    """All that a server sends on one connection before it closes: whole, framed wrongly, cut short, or no HTTP."""
    answer = draw(answers)
    body, headers = answer.body, list(answer.headers)
    if draw(st.booleans()):
        coding, pack = draw(st.sampled_from(_CODINGS))
        body = pack(body)
        headers.append(("Content-Encoding", coding))
    framing = draw(st.sampled_from(["length", "length", "wrong length", "chunked", "none", "both", "odd length"]))
    if framing in {"length", "both"}:
        headers.append(("Content-Length", str(len(body))))
    if framing == "wrong length":
        headers.append(("Content-Length", str(max(0, len(body) + draw(st.integers(-20, 20))))))
    if framing == "odd length":
        headers.append(("Content-Length", draw(number_texts | st.sampled_from(["-1", "1, 1", "0x1", "٣"]))))
    if framing in {"chunked", "both"}:
        headers.append(("Transfer-Encoding", draw(st.sampled_from(["chunked", "gzip, chunked", "chunked, chunked"]))))
        body = _chunked(body, draw(st.sampled_from([1000, 65_536])))
    raw = attrs.evolve(answer, headers=tuple(headers), body=body).on_the_wire()
    raw = draw(st.sampled_from([b"", b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 3, b"\r\n", b"\0"])) + raw
    if draw(st.booleans()):
        raw = raw[: draw(st.integers(0, min(len(raw), 2000)))]
    return raw


HOSTILE_WIRES = (
    b"", b"\0" * 1000, b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n{}",
    b"HTTP/1.1 200 " + b"x" * 100_000, b"HTTP/1.1 100 Continue\r\n\r\n" * 5000,
    b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nzz",
    b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(20_000)) + b"\r\n{}",
    b"HTTP/1.1 200 OK\r\n" + b"".join(b"Set-Cookie: c%d=%s\r\n" % (n, b"x" * 4000) for n in range(500)) + b"\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 50_000,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 100_000,
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b'{"access_token":"t"}' + b" " * (30 << 20)),
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b'{"access_token":"t"}')[:-6],
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nnot gzip",
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=nonsense\r\n\r\n{"access_token":"t"}',
)  # fmt: skip
all_wires = wires() | wires() | st.sampled_from(HOSTILE_WIRES) | st.binary(max_size=200)


# --- Entries of a store

ENTRY = (
    "v", "value", "expires_at", "issued_at", "token_type", "refresh_token", "scope", "extra", "rotations",
    "in_use_since", "rejection",
)  # fmt: skip


def entry(**changes: Any) -> str:
    """An entry as a store holds it, with fields changed; ``...`` takes one out."""
    whole: dict[str, Any] = {
        "v": 1, "value": "access", "expires_at": NOW + 60, "issued_at": NOW, "token_type": "Bearer",
        "refresh_token": "refresh", "scope": "a b", "extra": {}, "rotations": 0, "in_use_since": None,
        "rejection": {"digest": "abcd", "until": NOW + 60, "times": 1},
    }  # fmt: skip
    return json.dumps({name: value for name, value in {**whole, **changes}.items() if value is not ...})


entries = (
    st.dictionaries(st.sampled_from(ENTRY), json_values | deep | st.just(...), max_size=3).map(lambda kw: entry(**kw))
    | damaged(st.just(entry()))
    | st.sampled_from(
        ["[" * 100_000, "{}", "null", '{"v":' * 50_000, entry(extra={"refresh_expires_in": float("nan")})]
    )
    | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1"))
)
