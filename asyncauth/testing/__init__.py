"""Tools for tests of code that uses asyncauth: a clock to advance, chosen tokens, answers without a server."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

from asyncauth.testing.clock import FakeClock
from asyncauth.testing.conformance import StoreConformance
from asyncauth.testing.provider import FakeProvider
from asyncauth.testing.static import static_manager

if _TYPE_CHECKING:
    from asyncauth.testing.aiohttp_mock import mock_aiohttp

__all__ = ["FakeClock", "FakeProvider", "StoreConformance", "mock_aiohttp", "static_manager"]

# Imported on first use, since it needs the extra ``testing``.
_LATER = {"mock_aiohttp": "asyncauth.testing.aiohttp_mock"}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(_import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
