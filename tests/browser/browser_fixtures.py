"""A real browser, the sandbox with its page, and the page in the browser. ``make test-browser`` runs these tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from browser_kit import Screen, launch
from playwright.async_api import Browser, async_playwright

from asyncauth.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for all tests; each has a profile of its own in it."""
    async with async_playwright() as playwright:
        chromium = await launch(playwright)
        yield chromium
        await chromium.close()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def desktop(browser: Browser) -> AsyncIterator[Screen]:
    """The page in English, on a desktop, in light colours: opened once."""
    async with Screen.of(browser, Sandbox(page=True)) as screen:
        yield screen


@pytest_asyncio.fixture(loop_scope="session")
async def screen(desktop: Screen) -> AsyncIterator[Screen]:
    """The page of a sandbox as it starts; any complaint of the browser's fails the test."""
    await desktop.reset()
    yield desktop
    complaints = desktop.complaints.copy()
    desktop.complaints.clear()
    assert complaints == []
    assert desktop.foreign == []


@pytest.fixture
def sandbox(screen: Screen) -> Sandbox:
    """The sandbox that the page is of."""
    return screen.sandbox
