"""Names that would forge a line of a log or command a terminal, and every place where a name comes out."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from cryptography.fernet import Fernet
from harness import sinks
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from typer import Exit

from asyncauth import (
    AuthError,
    ConfigurationError,
    CredentialsRejected,
    ManagerClosed,
    ManagerPool,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
    events,
)
from asyncauth._base.printable import name_of, printable
from asyncauth.cli import outcome
from asyncauth.stores import EncryptedStore, FileStore, MemoryStore, RedisStore
from asyncauth.telemetry.otel import OpenTelemetry
from asyncauth.testing import FakeClock, FakeProvider

EVIL = "evil\n2026 CRITICAL forged\x1b[2J\u202e"
CLEAN = "evil 2026 CRITICAL forged [2J "


@attrs.frozen(eq=False)
class Evil:
    """A tenant's key that shows itself as it likes."""

    text: str = EVIL

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


@dataclasses.dataclass(frozen=True, repr=False)
class Nameless:
    def __str__(self) -> str:
        raise RuntimeError

    def __repr__(self) -> str:
        return "nameless"


class EvilStore(MemoryStore):
    def __repr__(self) -> str:
        return EVIL

    async def load(self, key: str) -> Token | None:
        raise OSError(EVIL)


def texts(thing: object) -> Iterator[str]:
    """Yield every text in what JSON can hold, the names of members too."""
    if isinstance(thing, Mapping):
        yield from map(str, thing)
        thing = list(thing.values())
    if isinstance(thing, list | tuple):
        for each in thing:
            yield from texts(each)
    else:
        yield str(thing)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What comes out of the sinks that each test has."""
    found: list[tuple[str, str]] = []
    monkeypatch.setattr(sinks, "look", lambda sink, text: found.append((sink, text)))
    return found


PROBLEMS = {
    "busy": TokenEndpointUnavailable(EVIL, step=EVIL, retry_after=900.0),
    "rejected": CredentialsRejected(EVIL, provider=EVIL, error=EVIL),
}


@pytest.mark.parametrize("key", [EVIL, Evil(), (EVIL, 1), Nameless()], ids=["str", "object", "tuple", "nameless"])
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
async def test_every_sink_of_a_pool(
    clock: FakeClock, seen: list[tuple[str, str]], caplog: pytest.LogCaptureFixture, key: Any, problem: AuthError
) -> None:
    """No log line, span, metric, event, error or status shows control characters of a tenant, provider or store."""
    caplog.set_level(logging.DEBUG, "asyncauth")
    reader = InMemoryMetricReader()
    metering, tracing = MeterProvider([reader], shutdown_on_exit=False), TracerProvider(shutdown_on_exit=False)
    listener = OpenTelemetry(meter_provider=metering, tracer_provider=tracing)
    provider = FakeProvider(name=EVIL, clock=clock, answers=[problem])
    heard: list[events.Event] = []

    async def hear(event: events.Event) -> None:
        heard.append(event)

    async with ManagerPool[Any](lambda _: provider, clock=clock, store=EvilStore()) as pool:
        pool.add_listener(hear)
        manager = await pool.get(key)
        with pytest.raises(AuthError) as caught:
            await manager.token()
        shown: list[object] = [pool.status(), pool.status().as_dict(), manager, caught.value]
        await manager.refresh()
        shown += [manager.status(), manager.status().as_dict(), pool]
    for event in heard:
        listener(event)
        shown += [event, event.as_dict()]
    for record in caplog.records:
        shown += [record.getMessage(), vars(record)["asyncauth"]]
    reader.get_metrics_data()
    shown += [json.loads(text) for name, text in seen if name in {"span", "metric"}]

    assert {type(event) for event in heard} >= {events.StoreFailed, events.RefreshFailed, events.RefreshSucceeded}
    assert {name for name, _ in seen} >= {"log", "event", "error", "span", "metric"}
    assert len([record for record in caplog.records if CLEAN in record.getMessage()]) > 4
    assert [text for text in texts(shown) if not text.isprintable()] == []


def test_errors() -> None:
    """An error's text is one line, whatever its provider, its step or its message hold."""
    error = ManagerClosed(EVIL, provider=EVIL, step=EVIL, endpoint=EVIL, error=EVIL)
    assert str(error).isprintable()
    assert len(str(ConfigurationError("no", provider="x" * 5000))) < 300


def test_stores(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A store's representation and warnings show no control character of its folder, prefix or inner store."""
    stores = [
        FileStore(tmp_path / EVIL),
        RedisStore("redis://127.0.0.1", prefix=EVIL),
        EncryptedStore(EvilStore(), Fernet.generate_key()),
    ]
    assert all(repr(store).isprintable() for store in stores)


async def test_a_damaged_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The warning about a damaged entry is one line."""
    store = FileStore(tmp_path / EVIL)
    await store.save("key", Token("t", issued_at=0.0, expires_at=None))
    for file in (tmp_path / EVIL).glob("*.json"):
        file.write_text("{")
    assert await store.load("key") is None
    (record,) = caplog.records
    assert record.getMessage().isprintable()


def test_a_manager_that_was_left_open(provider: FakeProvider) -> None:
    """A manager's representation, which stands in warnings and in logs, shows its provider's name without them."""
    provider.name = EVIL
    assert repr(TokenManager(provider)).endswith(f"{CLEAN!r}>")
    odd: Any = provider
    odd.name = Evil()
    assert repr(TokenManager(provider)).isprintable()


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """What a command says of a store, and of what went wrong, commands no terminal."""

    def work() -> int:
        raise outcome.Problem(f"there is no folder {EVIL}")

    with pytest.raises(Exit):
        outcome.conclude(work, verbose=False)
    assert capsys.readouterr().err == "asyncauth: there is no folder evil 2026 CRITICAL forged [2J\n"


@pytest.mark.parametrize("text", [EVIL, "\u2028", "\u2066a\u2069", "\x9b2J", "\u200b", "\ud800", "\x7f", "\0"])
def test_each_character_that_can_not_be_seen_is_a_space(text: str) -> None:
    """Line breaks, escape sequences, marks of direction and lone surrogates go; the length stays."""
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)


@pytest.mark.parametrize("length", [199, 200, 201, 10_000])
def test_names_are_short(length: int) -> None:
    """A name has at most 200 characters; a longer one ends in an ellipsis."""
    name = name_of("x" * length)
    assert len(name) == min(length, 200)
    assert name.endswith("…") == (length > 200)


def test_what_has_no_name() -> None:
    """A name need not be a string; where ``str`` fails the class stands for it."""
    assert (name_of(5), name_of(None), name_of(Nameless())) == ("5", "None", "Nameless")
