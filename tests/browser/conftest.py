"""What pytest finds the browser tests' fixtures by."""

from __future__ import annotations

from browser_fixtures import browser, desktop, sandbox, screen

__all__ = ["browser", "desktop", "sandbox", "screen"]
