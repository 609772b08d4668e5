"""Attacks on what people see: a server that repeats secrets, errors that carry frames, names that forge log lines."""

from __future__ import annotations

import base64
import contextvars
import html
import json
import logging
import random
import time
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
from attack_kit import Try, attack, awaited, readings
from fuzz_checks import Canned, driven
from harness.canary import MARK, secret
from harness.crash_reports import crash_report, every_frame
from hostile import Answer
from loopback import MOMENTS, Api, ClosingConnector, Moment

from asyncauth import AuthError, BearerAuth, ManagerPool, Peakly
from asyncauth._core.try_state import TryState, set_try
from asyncauth.testing import FakeClock, FakeProvider, static_manager

_RUN = 8
"""Characters of a secret in a row that must not survive."""

SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "percent-encoded": lambda text: urllib.parse.quote(text, safe=""),
    "percent-encoded twice": lambda text: urllib.parse.quote(urllib.parse.quote(text, safe=""), safe=""),
    "every letter percent-encoded": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "as a form": urllib.parse.quote_plus,
    "as JSON": lambda text: json.dumps(text)[1:-1],
    "every letter as JSON's escape": lambda text: "".join(f"\\u{ord(each):04x}" for each in text),
    "some letters as JSON's escape": lambda text: "".join(
        f"\\u{ord(each):04x}" if number % 5 == 0 else each for number, each in enumerate(text)
    ),
    "as HTML": html.escape,
    "every letter as HTML's entity": lambda text: "".join(f"&#{ord(each)};" for each in text),
    "in base64": lambda text: base64.b64encode(text.encode()).decode(),
    "in URL-safe base64": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "in upper case": str.upper,
    "without its last letter": lambda text: text[:-1],
    "without its first letter": lambda text: text[1:],
    "with a starred end": lambda text: text[:-4] + "****",
    "with a starred beginning": lambda text: "****" + text[4:],
    "with a line break in it": lambda text: text[: len(text) // 2] + "\n" + text[len(text) // 2 :],
    "with blanks around each half": lambda text: f"{text[: len(text) // 2]} {text[len(text) // 2 :]}",
    "quoted and escaped": repr,
    "twice": lambda text: text + text,
}


@attack("secrets in a server's words")
def spellings(luck: random.Random, scale: int) -> Iterator[Try]:
    """However a server spells what was sent, no eight characters of it survive in the error."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    for _ in range(scale):
        for marks in ("", "-_.", "&<>\"'/\\+% "):
            password = "".join(luck.choice(letters + marks * 4) for _ in range(luck.choice((16, 24, 40)))).strip()
            for name, spell in SPELLINGS.items():
                yield f"{name}, with {marks!r}", lambda way=(password, spell): _repeated(*way)  # type: ignore[misc]


def _repeated(password: str, spell: Callable[[str], str]) -> None:
    said = f"the password {spell(password)} is wrong"
    body = json.dumps({"error": "invalid_grant", "error_description": said}).encode()
    for answer in (Answer(400, (), body), Answer(503, (), body)):
        error = _error_of(Peakly(username="ana", password=password), answer)
        for shown in (str(error), error.error_description or "", error.error or ""):
            for text in readings(shown):
                for start in range(len(password) - _RUN + 1):
                    run = password[start : start + _RUN]
                    assert run.casefold() not in text.casefold(), f"{len(run)} characters in a row survive"


def _error_of(provider: Peakly, answer: Answer) -> AuthError:
    def ask() -> AuthError:
        set_try(TryState(FakeClock()))
        try:
            driven(provider.fetch(Canned(answer), None))  # type: ignore[arg-type]
        except AuthError as error:
            return error
        raise AssertionError("a refusal brought a token")

    return contextvars.copy_context().run(ask)


@attack("server's words that take long to read")
def slow_words(luck: random.Random, scale: int) -> Iterator[Try]:
    """What nearly repeats a secret costs in proportion to its length: 64 KiB well under the limit of a try."""
    for mark in "!&%-\\"[: 1 if scale == 1 else None]:
        for length in (16, 64)[: 1 if scale == 1 else None]:
            password = mark * length
            text = (password[:-1] + "x") * (65_536 // length)
            yield f"{length} times {mark!r}", lambda way=(text, password): _read(*way)  # type: ignore[misc]


def _read(text: str, password: str) -> None:
    body = json.dumps({"error": "invalid_grant", "error_description": text}).encode()
    provider, began = Peakly(username="ana", password=password), time.process_time()
    _error_of(provider, Answer(400, (), body))
    assert time.process_time() - began < 1.0, "more than a second of CPU"


def _bodies() -> dict[str, Callable[[], Any]]:
    async def chunks() -> Any:
        yield b"x"

    return {"no body": lambda: None, "bytes": lambda: b"x", "a form": lambda: {"a": "b"}, "chunks": chunks}


@attack("connections that close under a request, and what a crash reporter then has")
def frames(luck: random.Random, scale: int) -> Iterator[Try]:
    """No frame of the error's chain holds the token, whenever the connection closes."""
    for moment in MOMENTS:
        for name, body in _bodies().items():
            for _ in range(1 if scale == 1 else 5):
                yield f"{name}, {moment} it is sent", lambda way=(moment, body): awaited(_closed(*way))  # type: ignore[misc]


async def _closed(moment: Moment, body: Callable[[], Any]) -> None:
    connector = ClosingConnector(moment)
    async with Api().serve() as api:
        api.good = None
        auth = BearerAuth(static_manager(secret("closed"), origins=api.url))
        async with aiohttp.ClientSession(connector=connector, middlewares=(auth,)) as http:
            async with http.post(api.url):
                pass
            connector.closes = True
            try:
                await http.post(api.url, data=body())
            except aiohttp.ClientError as error:
                shown = [crash_report(error), *(f"{variables!r}" for _, variables in every_frame(error))]
                assert not [text for text in shown if MARK in text]
            else:
                raise AssertionError("the request was answered")


_FORGED = (
    "a\nCRITICAL root: forged", "a\r\nforged", "a\x1b[2Jforged", "a\x1b]0;title\x07", "a\x9b31m", "a\x00b", "a\x7fb",
    "a\u2028forged", "a\u2029forged", "a\u202egnp.exe", "a\u2066b", "a\x85b", "a\x0bb", "a\x0cb", "a\ud800b",
)  # fmt: skip


@attack("names that forge log lines")
def forged(luck: random.Random, scale: int) -> Iterator[Try]:
    """A tenant's key or a provider's name reaches no log line, status or error with its control characters."""
    for name in _FORGED:
        for where in ("provider", "tenant"):
            yield f"{where} {name!r}", lambda way=(where, name): awaited(_named(*way))  # type: ignore[misc]


class _Lines(logging.Handler):
    """Keeps log lines as they are written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


async def _named(where: str, name: str) -> None:
    lines, logger = _Lines(), logging.getLogger("asyncauth")
    level, propagates = logger.level, logger.propagate
    logger.addHandler(lines)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False  # other handlers must not receive the forged lines
    provider = FakeProvider(answers=[AuthError("no")])
    if where == "provider":
        provider.name = name
    shown: list[object] = []
    try:
        pool: ManagerPool[str] = ManagerPool(lambda key: provider)
        async with pool:
            manager = await pool.get(name if where == "tenant" else "a")
            for _ in range(3):
                try:
                    manager.invalidate(await manager.token())
                except AuthError as error:
                    shown += [str(error), repr(error)]
            shown += [str(pool.status()), repr(manager), str(manager.status())]
    finally:
        logger.removeHandler(lines)
        logger.setLevel(level)
        logger.propagate = propagates
    assert lines.lines
    for text in (*lines.lines, *map(str, shown)):
        bad = [each for each in text if unicodedata.category(each) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]
        assert not bad, f"{bad!r} in {text[:100]!r}"
