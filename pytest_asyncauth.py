"""What pytest loads when asyncauth is installed: fixtures, which cost nothing until a test asks for one.

It stands beside the package: what is inside of that is imported with all of it, and with aiohttp, which would be before
pytest-cov measures, and in test runs that need neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

    from asyncauth.sandbox import Sandbox
    from asyncauth.testing import FakeClock


@pytest.fixture
def asyncauth_sandbox() -> Generator[Sandbox, None, None]:
    """A running `asyncauth.sandbox.Sandbox`, for sync and async tests alike: it serves from a thread of its own.

    Each test gets a new one on free ports of loopback; ``asyncauth_sandbox.configure(lifetime=2)`` changes its ways.
    """
    from asyncauth.sandbox import sandbox_in_thread  # noqa: PLC0415 (see above)

    with sandbox_in_thread() as sandbox:
        yield sandbox


@pytest.fixture
def asyncauth_clock() -> FakeClock:
    """An `asyncauth.testing.FakeClock` that moves by itself: give it to a ``TokenManager`` as ``clock=``."""
    from asyncauth.testing import FakeClock  # noqa: PLC0415 (see above)

    return FakeClock(auto=True)
