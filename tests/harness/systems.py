"""Run the tests as on Windows or macOS, on a machine that is neither: ``ASYNCAUTH_TESTS_AS=windows pytest``.

``conftest.py`` imports this module before asyncauth, which then does not find what the other system lacks. What pytest,
filelock and the standard library need to run here stays, such as ``os.name`` and ``os.O_NONBLOCK``. The workflow of CI
tests on the real systems.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import pkgutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["PLATFORMS", "SYSTEM", "TAKEN_AWAY"]

SYSTEM = os.environ.get("ASYNCAUTH_TESTS_AS")
"""The system that the tests run as; ``None``: this machine's."""

PLATFORMS = {"windows": "win32", "macos": "darwin"}
"""What ``sys.platform`` is while asyncauth is imported."""

TAKEN_AWAY: dict[str, dict[ModuleType, list[str]]] = {
    "windows": {
        os: [
            *("O_DIRECTORY", "O_NOCTTY", "O_NOFOLLOW", "chown", "fork", "getegid", "geteuid", "getpgid", "killpg"),
            *("mkfifo", "register_at_fork", "setsid"),
        ],
        signal: ["SIGHUP", "SIGUSR1", "SIGUSR2"],
        socket: ["AF_UNIX"],
        time: ["CLOCK_BOOTTIME", "CLOCK_MONOTONIC", "clock_gettime"],
    },
    "macos": {time: ["CLOCK_BOOTTIME"]},
}
"""The names that each system does not have, by their module."""

_CHOOSE_BY_PLATFORM = ("aiohttp", "filelock", "keyring", "redis.asyncio", "rich.console", "typer.testing")
"""Packages that pick their code by ``sys.platform`` when they are imported, and must pick this machine's."""


def _without_signal_handlers(*args: Any) -> None:
    raise NotImplementedError


def _without_modes(function: Callable[..., Any], position: int) -> Callable[..., Any]:
    """Return a function of ``os`` that ignores the mode it is given, as on Windows."""

    @functools.wraps(function)
    def plain(*args: Any, mode: int = 0, **kwargs: Any) -> Any:
        return function(*args[:position], *args[position + 1 :], **kwargs)

    return plain


def _become(system: str) -> None:
    """Take away what a system lacks, and import the package under that system's name."""
    for name in _CHOOSE_BY_PLATFORM:
        importlib.import_module(name)
    socket.socketpair = functools.partial(socket.socketpair, socket.AF_UNIX)  # how an event loop wakes itself here
    for module, names in TAKEN_AWAY[system].items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    if system == "windows":
        asyncio.SelectorEventLoop.add_signal_handler = _without_signal_handlers  # type: ignore[method-assign, assignment]
        os.open = _without_modes(os.open, 2)
        os.mkdir = _without_modes(os.mkdir, 1)
        os.chmod = lambda *args, **kwargs: None
    before, sys.platform = sys.platform, PLATFORMS[system]
    try:
        import asyncauth

        for found in pkgutil.walk_packages(asyncauth.__path__, "asyncauth."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    finally:
        sys.platform = before


if SYSTEM is not None:
    _become(SYSTEM)
