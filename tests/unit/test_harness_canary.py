"""The canaries are found wherever they come out: tests that leak one, each by another way, and fail for it."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from harness.canary import MARK, also, found, secret
from harness.inner import outcomes
from harness.sinks import SINKS

HEAD = """
import asyncio, logging, sys, warnings
import pytest
from harness.canary import MARK, look, secret
from asyncauth import ConfigurationError, Token, TokenManager
from asyncauth._http.origin import absolute_url
from asyncauth.testing import FakeProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

def manager(**options):
    return TokenManager(FakeProvider(name=secret(), answers=[ConfigurationError("no")] * 9, **options))
"""

# What a sink catches begins with the sink's name.
LEAKS = {
    "stdout": "def test(): print(secret())",
    "stderr": "def test(): print(secret(), file=sys.stderr)",
    "stdout that the test took": "def test(capsys):\n print(secret())\n capsys.readouterr()",
    "stderr of a fixture": "@pytest.fixture\ndef fix():\n yield\n sys.stderr.write(secret())\ndef test(fix): pass",
    "log at DEBUG of another library": "def test(): logging.getLogger('redis').debug('sent %s', secret())",
    "log of an argument": "def test(): logging.getLogger('x').debug('sent', extra={'value': secret()})",
    "log that the test recorded": "def test(caplog):\n caplog.set_level('DEBUG')\n logging.debug(secret())",
    "log of asyncio": """
def test():
    async def go(): asyncio.get_running_loop().call_exception_handler({'message': secret()})
    asyncio.run(go())""",
    "warning": "def test():\n with pytest.warns(UserWarning): warnings.warn(secret())",
    "event": """
def test():
    with pytest.raises(ConfigurationError): asyncio.run(manager().token())""",
    "telemetry: span": """
def test():
    TracerProvider().get_tracer("x").start_span("x", attributes={"token": secret()}).end()""",
    "telemetry: span's event": """
def test():
    with TracerProvider().get_tracer("x").start_as_current_span("x") as span: span.add_event(secret())""",
    "telemetry: metric": """
def test():
    reader = InMemoryMetricReader()
    MeterProvider([reader]).get_meter("x").create_counter("x").add(1, {"tenant": secret()})
    reader.get_metrics_data()""",
    "error's text": """
def test():
    provider = FakeProvider(answers=[ConfigurationError(secret())])
    with pytest.raises(ConfigurationError): asyncio.run(TokenManager(provider).token())""",
    "error's frame": """
def test(monkeypatch):
    monkeypatch.setattr('asyncauth._http.origin.URL', lambda text: [text] and 1 / 0)
    with pytest.raises(ZeroDivisionError): absolute_url(secret(), 'url')""",
    "error's cause": """
def test(monkeypatch):
    def broken(text):
        raise RuntimeError('no') from KeyError(secret())
    monkeypatch.setattr('asyncauth._http.origin.URL', broken)
    with pytest.raises(RuntimeError): absolute_url('x', 'url')""",
    "error among gathered ones": """
def test():
    async def go():
        await asyncio.gather(TokenManager(FakeProvider(answers=[ConfigurationError(secret())])).token(),
                             return_exceptions=True)
    asyncio.run(go())""",
    "repr": """
@pytest.fixture
def fake(): return FakeProvider(name=secret())
def test(fake): pass""",
    "text from elsewhere": "def test(): look('stdout', secret())",
}

CLEAN = {
    "nothing": "def test(): secret()",
    "asked for": "@pytest.mark.shows_secrets('stdout', reason='--show')\ndef test(): print(secret())",
    "the test's own frame": """
def test():
    mine = secret()
    with pytest.raises(ConfigurationError): absolute_url(mine, 'url')""",
}


def test_each_sink_is_shown_to_catch() -> None:
    """A new sink has a line in LEAKS, or more, whose name begins with its own."""
    shown = {re.split(r"\W", name)[0] for name in LEAKS}
    assert {sink.__name__ for sink in SINKS} <= shown


def test_each_way_out_is_watched(tmp_path: Path) -> None:
    """A test that passes and shows a secret fails, whichever way the secret came out; one that shows none passes."""
    tests = {name: HEAD + body for name, body in {**LEAKS, **CLEAN}.items()}
    told = outcomes(tmp_path, 'pytest_plugins = ["harness.sinks"]', tests)
    assert told == {**dict.fromkeys(LEAKS, "ERROR"), **dict.fromkeys(CLEAN, "PASSED")}


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_canary_is_recognised_in_other_clothes(before: str) -> None:
    """In base64 wherever it stands, in hex, in a URL, in a repr, cut off after its first letters or before its last."""
    plain = (before + secret("a b&c")).encode()
    for text in (
        base64.b64encode(plain).decode(),
        base64.urlsafe_b64encode(plain).decode(),
        plain.hex(),
        repr(plain),
        secret("x")[: len(MARK) + 1],
        secret("x")[-len(MARK) :],
        "".join(f"%{byte:02X}" for byte in plain),
    ):
        assert found(f"before {text} after"), text


def test_text_without_a_canary_is_none() -> None:
    """The field's own words are not canaries. A key in PEM is one if it was planted as one."""
    assert found("token request, refresh-1st, access token, at-risk, zqcanaryqz") is None
    line = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49"
    assert found(line) is None
    also(f"-----BEGIN PRIVATE KEY-----\n{line}\n-----END PRIVATE KEY-----\n")
    assert found(f"key={line}") is not None
    assert found("-----BEGIN PRIVATE KEY-----") is None
