"""The documentation in Chromium: all of its pages, in windows from a phone's to a large screen's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from site_kit import WIDTHS, Site, build

if TYPE_CHECKING:
    from playwright.async_api import Browser


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """All pages, built and measured once."""
    built = await asyncio.to_thread(build, tmp_path_factory.mktemp("site"))
    await built.measure(browser)
    assert len(built.excess) > 40
    return built


@pytest.mark.timeout(600)  # the first one builds
@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("width", WIDTHS)
async def test_no_page_scrolls_sideways(site: Site, width: int) -> None:
    """Code and tables that are wider than their page scroll in their own box, or break."""
    wide = {page: excess[width] for page, excess in site.excess.items() if excess[width] > 0}
    assert wide == {}
