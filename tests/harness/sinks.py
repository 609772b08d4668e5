"""Where a secret might come out, each searched for canaries in every test; a leak fails the test that passed.

A sink is a context manager in ``SINKS``, open for the whole run, that hands what it sees to ``look(name, text)``.
``@pytest.mark.shows_secrets("stdout", reason=…)`` is for a test of what shows a secret because the user asked for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from opentelemetry.sdk import trace
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from asyncauth._core.listeners import Listeners
from asyncauth.events import Event
from harness.canary import WATCH, look
from harness.crash_reports import family
from harness.frames import caller, holds_secrets_by_right, is_of_the_library

EVERYTHING = 1
"""The root logger's level, one that nobody else uses: as long as it is this one, a test did not choose another."""


def _safely(show: Callable[[object], str], thing: object) -> str:
    """Return what ``repr`` or ``str`` makes of a thing, which may be half built."""
    try:
        return show(thing)
    except Exception as error:  # noqa: BLE001 (whatever it is)
        return f"<{type(error).__name__}>"


def _alone(error: BaseException) -> str:
    """Return what tools make of one error: its text and fields, and each frame's locals but a test's own."""
    text = []
    for frame, line in traceback.walk_tb(error.__traceback__):
        if not holds_secrets_by_right(frame):
            code = frame.f_code
            text.append(f"{code.co_filename}:{line} {code.co_name}")
            text += [f"{name} = {_safely(repr, value)}" for name, value in frame.f_locals.items()]
    text += [_safely(str, error), *(_safely(repr, each) for each in (error, error.args, vars(error)))]
    return "\n".join(text)


def shown(error: BaseException) -> str:
    """Return what tools make of an error that reached a caller, and of all that it came from."""
    return "\n".join(map(_alone, family(error)))


def _of_the_library(error: BaseException) -> bool:
    return any(is_of_the_library(frame) for frame, _ in traceback.walk_tb(error.__traceback__))


def _received(error: object) -> None:
    if isinstance(error, BaseException) and _of_the_library(error):
        look("error", shown(error))


class _Everything(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        look("log", f"{record.getMessage()}\n{vars(record)!r}")
        if record.exc_info and record.exc_info[1] is not None:
            look("log", shown(record.exc_info[1]))


def _unless_chosen(record: logging.LogRecord) -> bool:
    """Whether a record would be made if the root logger were at WARNING, as it is where nobody sets it."""
    if record.levelno >= logging.WARNING:
        return True
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None and logger.level == logging.NOTSET:
        logger = logger.parent
    return logger is None or logger.level != EVERYTHING


@contextlib.contextmanager
def log(config: pytest.Config) -> Iterator[None]:
    """See all that is logged, at any level, by any library; ``caplog`` is spared what a test did not ask for."""
    root, handler = logging.getLogger(), _Everything()
    for name in ("aiohttp", "asyncauth", "asyncio", "filelock", "redis"):
        assert logging.getLogger(name).level == logging.NOTSET, name
    plugin: Any = config.pluginmanager.getplugin("logging-plugin")
    for capturing in (plugin.caplog_handler, plugin.report_handler):
        capturing.addFilter(_unless_chosen)
    before = root.level
    root.setLevel(EVERYTHING)
    root.addHandler(handler)
    yield
    root.removeHandler(handler)
    root.setLevel(before)


@contextlib.contextmanager
def warning(_: pytest.Config) -> Iterator[None]:
    """See each warning, those that a test records as well."""
    original = warnings.WarningMessage

    class Seen(original):  # type: ignore[misc, valid-type]
        def __init__(self, message: Any, *args: Any, **kwargs: Any) -> None:
            super().__init__(message, *args, **kwargs)
            look("warning", f"{message} {message!r} {self.source!r}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warnings, "WarningMessage", Seen)
        yield


@contextlib.contextmanager
def error(_: pytest.Config) -> Iterator[None]:
    """See each error of the library that a test gets: by ``pytest.raises``, or from ``asyncio.gather``."""
    leave, gather = pytest.RaisesExc.__exit__, asyncio.gather

    @functools.wraps(leave)
    def left(self: Any, kind: Any, raised: Any, trace: Any) -> bool:
        _received(raised)
        return leave(self, kind, raised, trace)

    def results(future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and future.exception() is None:
            for result in future.result():
                _received(result)

    @functools.wraps(gather)
    def gathered(*awaitables: Any, return_exceptions: bool = False) -> Any:
        future = gather(*awaitables, return_exceptions=return_exceptions)
        if return_exceptions and holds_secrets_by_right(caller()):
            future.add_done_callback(results)
        return future

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytest.RaisesExc, "__exit__", left)
        patch.setattr(asyncio, "gather", gathered)
        yield


@contextlib.contextmanager
def stdout(_: pytest.Config) -> Iterator[None]:
    """See what a test takes from ``capsys`` and its like; what nobody took is in the test's report."""
    read = pytest.CaptureFixture.readouterr

    @functools.wraps(read)
    def taken(self: Any) -> Any:
        result = read(self)
        for name, text in (("stdout", result.out), ("stderr", result.err)):
            look(name, text if isinstance(text, str) else text.decode(errors="replace"))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytest.CaptureFixture, "readouterr", taken)
        yield


@contextlib.contextmanager
def event(_: pytest.Config) -> Iterator[None]:
    """See each event, whether anybody listens or not."""
    tell = Listeners.tell

    @functools.wraps(tell)
    def told(self: Listeners, what: Event) -> None:
        look("event", repr(what))
        tell(self, what)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Listeners, "tell", told)
        yield


@contextlib.contextmanager
def telemetry(_: pytest.Config) -> Iterator[None]:
    """See each span that OpenTelemetry's SDK ends, and the metrics that a test reads."""
    end, read = trace.Span.end, InMemoryMetricReader.get_metrics_data

    @functools.wraps(end)
    def ended(self: Any, *args: Any, **kwargs: Any) -> None:
        look("span", self.to_json())
        end(self, *args, **kwargs)

    @functools.wraps(read)
    def taken(self: Any) -> Any:
        data = read(self)
        look("metric", "" if data is None else data.to_json())
        return data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace.Span, "end", ended)
        patch.setattr(InMemoryMetricReader, "get_metrics_data", taken)
        yield


SINKS: list[Callable[[pytest.Config], contextlib.AbstractContextManager[None]]] = [
    log,
    event,
    telemetry,
    warning,
    error,
    stdout,
]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "shows_secrets(*sinks, reason): what this test is about shows a secret because its user asked for it"
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    stack = contextlib.ExitStack()
    for sink in SINKS:
        stack.enter_context(sink(session.config))
    session.config.add_cleanup(stack.close)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Note what the test may show."""
    marks = list(item.iter_markers("shows_secrets"))
    assert all(mark.kwargs.get("reason") for mark in marks), "shows_secrets needs a reason"
    WATCH.allowed = frozenset(name for mark in marks for name in mark.args)
    WATCH.take()
    try:
        return (yield)
    finally:
        WATCH.allowed = frozenset()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that has passed, and has shown a secret."""
    report = yield
    if call.when == "call":
        for name, value in getattr(item, "funcargs", {}).items():
            if type(value).__module__.startswith("asyncauth."):
                look("repr", f"{name}: {_safely(repr, value)} {_safely(str, value)}")
    if call.when == "teardown":
        for name, text in report.sections:
            if "log" not in name:
                look("stdout" if "stdout" in name else "stderr", text)
        faults = WATCH.take()
        if faults and report.passed:
            report.outcome = "failed"
            report.longrepr = "\n".join(faults)
    return report
