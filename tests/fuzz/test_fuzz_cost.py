"""Bounded time and memory: what is read costs in proportion to its length, and a hostile answer not much at all."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import time
import tracemalloc
from collections.abc import Callable
from typing import TypeAlias

import aiohttp
import fuzz_checks as check
import hostile
import pytest
from hostile import SECRET
from hypothesis import given
from hypothesis import strategies as st

from asyncauth import AuthError, Peakly, expiry
from asyncauth._base.redaction import Redactor
from asyncauth._http import challenge
from asyncauth.providers.wire.cases import fits
from asyncauth.providers.wire.document import fields_of, read_document
from asyncauth.providers.wire.error_codes import means_busy, means_rejected
from asyncauth.providers.wire.lifetime_fields import iso_date
from asyncauth.providers.wire.path import Path
from asyncauth.providers.wire.pause import asked_pause
from asyncauth.providers.wire.words import server_message
from asyncauth.providers.wire.xml_document import parse_xml
from asyncauth.stores import loads

Work: TypeAlias = Callable[[str], object]

_SHORT = 16_000
"""Characters of the shorter of two texts; the longer one has four times as many."""
_NOTHING = 0.05
"""Seconds of CPU that are not worth a comparison: whatever it is, at this length it is cheap."""
_LARGEST_PEAK = 24 << 20


def _ignoring_errors(work: Work) -> Work:
    def quiet(text: str) -> object:
        try:
            return work(text)
        except (AuthError, ValueError):
            return None

    return quiet


READERS: dict[str, Work] = {
    "a date": expiry.try_http_date,
    "an ISO date": _ignoring_errors(lambda text: iso_date(text, "field")),
    "a wait": lambda text: expiry.retry_after(text, hostile.NOW),
    "an age": lambda text: expiry.server_now("Tue, 14 Nov 2023 22:13:20 GMT", text),
    "a duration": _ignoring_errors(lambda text: expiry.duration(text, "expires_in")),
    "a challenge": lambda text: challenge.reason_of([text]),
    "challenges": lambda text: challenge.reason_of(text.split("a")),
    "a JWT": expiry.jwt_times,
    "a JWT's claims": lambda text: expiry.jwt_times(hostile.jwt(text.encode("utf-8", "surrogatepass"))),
    "an answer": lambda text: fields_of(read_document(text.encode("utf-8", "surrogatepass"), None)),
    "an answer in another charset": lambda text: read_document(text.encode("gbk", "replace"), "a/b; charset=gbk"),
    "XML": parse_xml,
    "XML inside": lambda text: parse_xml(f"<a b='c'><d>{text}</d></a>"),
    "a form": fields_of,
    "a charset": lambda text: read_document(b"\xff", text),
    "a place": lambda text: Path.of("a.b[0].c", "token").find({"a": text}, {}),
    "a path": _ignoring_errors(lambda text: Path.of(text, "token")),
    "a pause": lambda text: asked_pause({"Retry-After": text}, {"retry_after": text}, hostile.NOW),
    "an error code": lambda text: (means_busy(text), means_rejected(text)),
    "a declared value": lambda text: fits(text, ("*a*b*c*", f"{text[:100]}*{text[-100:]}")),
    "a message": lambda text: server_message({"error": text, "message": text}, Redactor((text[:-1] + "y", SECRET))),
    "a text with secrets": lambda text: Redactor((SECRET, text[: len(text) // 2] + "y", "pin")).text(text),
    "an entry": _ignoring_errors(loads),
    "an entry's value": _ignoring_errors(lambda text: loads(hostile.entry(value=text))),
}


def _seconds(work: Work, text: str) -> float:
    started = time.thread_time()
    work(text)
    return time.thread_time() - started


def costs_no_more_than_its_share(work: Work, grown: Callable[[int], str]) -> None:
    """Check that four times the text takes some four times as long, and not sixteen. Noise only ever adds time."""
    long = _seconds(work, grown(4 * _SHORT))
    if long < _NOTHING:
        return
    # In turns: five short ones in a row may all fall into a moment in which the machine is slow.
    rounds = [(_seconds(work, grown(_SHORT)), _seconds(work, grown(4 * _SHORT))) for _ in range(5)]
    short, long = (min(each) for each in zip(*rounds, strict=True))
    assert long < _NOTHING or long < 9 * short, f"{short:.3f} s for {_SHORT} characters, {long:.3f} s for 4 times that"


pieces = (
    hostile.texts | hostile.challenge_pieces | hostile.date_pieces | st.sampled_from(["[", "{", '{"a":', "\\u00e9"])
)


@check.examples(40)
@given(st.sampled_from(sorted(READERS)), pieces, pieces.filter(bool), pieces)
def test_what_is_read_costs_in_proportion_to_its_length(reader: str, start: str, unit: str, end: str) -> None:
    """A text that repeats anything at all is read in time that grows as it does, not as its square."""
    costs_no_more_than_its_share(READERS[reader], lambda size: start + unit * (size // len(unit)) + end)


def test_quadratic_work_is_told_from_linear() -> None:
    """The comparison above fails for what it is there for."""

    def grown(size: int) -> str:
        return "x" * (size // 4)

    def quadratic(text: str) -> object:
        return re.findall("x*y", text)

    def linear(text: str) -> object:
        return [hash(char) for char in text * 100]

    with pytest.raises(AssertionError):
        costs_no_more_than_its_share(quadratic, grown)
    costs_no_more_than_its_share(linear, grown)


def framed(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *headers, b"Content-Length: %d" % len(body), b"", body])


@pytest.mark.parametrize(
    "made",
    [
        lambda: framed(gzip.compress(bytes(64 << 20)), b"Content-Encoding: gzip"),
        lambda: framed(
            gzip.compress(json.dumps({"access_token": "t"}).encode() + b" " * (64 << 20)), b"Content-Encoding: gzip"
        ),
        lambda: framed(b" " * (10 << 20)),
        lambda: framed(b'{"a":[' + b"[]," * 100_000 + b"1]}"),
        lambda: framed(b"[" * (1 << 20)),
    ],
    ids=["bomb", "bomb with a token", "ten megabytes", "many lists", "many brackets"],
)
def test_an_answer_takes_bounded_memory(made: Callable[[], bytes]) -> None:
    """No answer, packed or not, makes a service hold more than a few megabytes."""
    raw = made()

    async def peak() -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"password=")
            writer.write(raw)
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            provider = Peakly(username="ana", password="x", base_url=f"http://127.0.0.1:{port}")
            async with aiohttp.ClientSession() as http:
                before = tracemalloc.get_traced_memory()[0]
                with pytest.raises(AuthError):
                    await provider.fetch(http, None)
                return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    try:
        assert asyncio.run(peak()) - len(raw) < _LARGEST_PEAK
    finally:
        tracemalloc.stop()
