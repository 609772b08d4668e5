"""Fails a test in which the library makes a blocking call on an event loop, even if some code swallowed the error.

BlockBuster raises where a call blocks (files, sockets, sleep, a lock that is taken). The sandbox, the command line and
the kits for tests do not count as the library, nor do the tests.
"""

from __future__ import annotations

import traceback
import types
from collections.abc import Callable
from typing import Any

import blockbuster.blockbuster
import pytest
from coverage import Coverage

from harness.canary import WATCH
from harness.frames import LIBRARY, caller, is_of_a_test, is_of_the_library

_BESIDE = [str(LIBRARY / name) for name in ("cli", "sandbox", "testing")]


class _Noted(blockbuster.BlockingError):
    """A recorded blocking call. The library goes on when a store fails, so the error alone would not be noticed."""

    def __init__(self, func: str) -> None:
        super().__init__(func)
        place = next(frame for frame in reversed(traceback.extract_stack()) if frame.filename.startswith(str(LIBRARY)))
        WATCH.note(f"{func} blocks the event loop: {place.filename}:{place.lineno} in {place.name}")


def _unless_a_test_does(may_block: Callable[..., bool]) -> Callable[..., bool]:
    """Allow what a test's own function does, where the library calls it: a callback, or a part that was replaced."""

    def predicate(*args: Any, **kwargs: Any) -> bool:
        if may_block(*args, **kwargs):
            return True
        frame: types.FrameType | None = caller()
        while frame is not None:
            if is_of_the_library(frame):
                return False
            if is_of_a_test(frame):
                return True
            frame = frame.f_back
        return True

    return predicate


def pytest_sessionstart(session: pytest.Session) -> None:
    patch = pytest.MonkeyPatch()
    patch.setattr(blockbuster.blockbuster, "BlockingError", _Noted)
    detector = blockbuster.BlockBuster(scanned_modules=["asyncauth"])
    if Coverage.current() is not None:  # its tracer takes a lock in any function's name; `make test` looks at locks
        del detector.functions["threading.Lock.acquire"]
    # They look once at what they were given, before anything is under way.
    constructors = {"__init__", "_check_url"}
    for function in detector.functions.values():
        function.can_block_in(
            "logging/__init__.py", "callHandlers"
        )  # where a log is written is the application's affair
        # `make coverage`: the tracer's own, wherever the library is.
        function.can_block_in("/coverage/collector.py", "lock_data")
        # A client of redis-py looks up that package's own version.
        function.can_block_in("/redis/utils.py", "get_lib_version")
        # With trust_env=True the oldest aiohttp reads the user's .netrc file on the loop; newer ones in a thread.
        function.can_block_in("/aiohttp/helpers.py", {"netrc_from_env", "get_env_proxy_for_url"})
        # httpx reads the files of a form on the loop, with or without this library.
        function.can_block_in("/httpx/_multipart.py", "render_data")
        function.can_block_in("/httpx/_config.py", "create_ssl_context")  # as does its transport's constructor
        function.can_block_in("/asyncauth/stores/file.py", constructors)
        function.can_block_in("/asyncauth/stores/redis.py", constructors)
        function.can_block_predicate = _unless_a_test_does(function.can_block_predicate)
        function._excluded_modules = tuple(_BESIDE)  # paths: their imports need extras that may be missing
    detector.activate()
    session.config.add_cleanup(detector.deactivate)
    session.config.add_cleanup(patch.undo)
