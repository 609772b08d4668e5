"""How an API's answer is printed."""

from __future__ import annotations

import io
import sys

import pytest

from asyncauth.cli.answer import Answer


class Terminal(io.TextIOWrapper):
    """What a command writes to, and whether a person looks at it."""

    def __init__(self, *, looks: bool) -> None:
        self.raw_bytes = io.BytesIO()
        self._looks = looks
        super().__init__(self.raw_bytes)

    def isatty(self) -> bool:
        return self._looks


@pytest.mark.parametrize(
    ("body", "looks", "shown"),
    [
        (b"text", True, b"text\n"),
        (b"text\n", True, b"text\n"),
        (b"", True, b""),
        (b"text", False, b"text"),
    ],
)
def test_a_terminal_gets_a_final_newline(
    monkeypatch: pytest.MonkeyPatch, body: bytes, *, looks: bool, shown: bytes
) -> None:
    """The shell's prompt begins on a line of its own, and a file gets the body as it came."""
    stdout = Terminal(looks=looks)
    monkeypatch.setattr(sys, "stdout", stdout)
    answer = Answer(status=200, reason="OK", url="https://api.example.com", headers={}, body=body, seconds=0.1)
    answer.write(as_json=False)
    assert stdout.raw_bytes.getvalue() == shown
