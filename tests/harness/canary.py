"""Secrets that are recognised wherever they come out: every kit makes its tokens and passwords of them.

``secret("password")`` is such a secret. What must not show it is searched by the sinks of ``harness.sinks``; text that
comes out elsewhere (a subprocess' output, a file) is handed to ``look``.
"""

from __future__ import annotations

import base64
import re
import urllib.parse
from typing import Any

MARK = "zqCANARYqz"
"""Letters only: in a URL, a repr or JSON it is written as it is. No other text has it."""

PREFIX = f"{MARK}-"
"""What a minted token begins with: ``Sandbox(token_prefix=PREFIX)``."""


CANARIES: dict[str, Any] = {"password": f"{PREFIX}password-{MARK}", "token_prefix": PREFIX}
"""What a ``Sandbox`` of a test is started with."""


def secret(name: str = "secret", tail: str = "") -> str:
    """Return a secret: a canary at both ends, so that half of it is recognised, too."""
    return f"{PREFIX}{name}-{MARK}{tail}"


def _in_base64(mark: bytes) -> list[str]:
    """Return what base64 makes of the mark, wherever it stands, without the characters that its neighbours change."""
    found = []
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + mark).decode()
        found.append(encoded[-(-before * 8 // 6) : (before + len(mark)) * 8 // 6])
    return found


_MARKS = [MARK, *_in_base64(MARK.encode()), MARK.encode().hex()]
"""The mark, as itself, in base64 and in hex."""

_KINDS = ("token", "access", "refresh", "at", "rt")
"""What FakeProvider and the kits mint: tokens that are told apart by their numbers."""

_BEGINNINGS = [f"{kind}-" for kind in _KINDS]
_NUMBERED = re.compile(rf"(?<![\w-])(?:{'|'.join(_KINDS)})-\d+(?![\w-])")


def _hit(text: str) -> tuple[int, int] | None:
    """Return from where to where a canary stands in a text.

    Each word is looked for by itself, which takes a fifth of the time of one expression for all of them. Every text
    that a test lets out is searched.
    """
    for mark in _MARKS:
        if (start := text.find(mark)) >= 0:
            return start, start + len(mark)
    if any(beginning in text for beginning in _BEGINNINGS) and (match := _NUMBERED.search(text)):
        return match.span()
    return None


_PIECES: set[str] = set()


def also(key: str) -> str:
    """Search for a secret that can't be made of canaries, too, such as a private key in PEM; return it."""
    _PIECES.update(line for line in key.splitlines() if len(line) > 12 and "-----" not in line)
    return key


def found(text: str) -> str | None:
    """Return the place where a text shows a canary, as itself, in base64 (a JWT's claims are) or in hex; else None."""
    hit = _hit(text)
    if hit is None and "%" in text and (unquoted := urllib.parse.unquote(text)) != text:
        text = unquoted
        hit = _hit(text)
    if hit is not None:
        start, end = hit
        return text[max(0, start - 200) : end + 100]
    return next((f"the canary {piece[:12]}…" for piece in _PIECES if piece in text), None)


class Watch:
    """What the harness finds in the test that is running."""

    def __init__(self) -> None:
        self._faults: list[str] = []
        self.allowed: frozenset[str] = frozenset()

    def look(self, sink: str, text: str) -> None:
        """Search what came out of a sink."""
        if sink in self.allowed:
            return
        where = found(text)
        if where is not None:
            self.note(f"a secret has come out in {sink}: …{where}…")

    def note(self, fault: str) -> None:
        """Fail the test that is running, if it passes."""
        if len(self._faults) < 10:
            self._faults.append(fault)

    def take(self) -> list[str]:
        """Return the faults so far, and forget them."""
        faults, self._faults = self._faults, []
        return faults


WATCH = Watch()
look = WATCH.look
