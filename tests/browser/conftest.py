"""What pytest finds the browser tests' fixtures by."""

from __future__ import annotations

import pytest
from browser_fixtures import browser, desktop, sandbox, screen

__all__ = ["browser", "desktop", "sandbox", "screen"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.leaves_sockets(reason="Chromium keeps connections for as long as it likes"))
