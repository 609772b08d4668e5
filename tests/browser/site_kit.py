"""The documentation's pages, built once, and how wide each is in windows of several widths."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import attrs
from playwright.async_api import Browser

ROOT = Path(__file__).parents[2]
WIDTHS = (360, 768, 1280, 1366, 1440, 1920)

_EXCESS = """() => {
    const boxes = [document.documentElement, document.body, document.querySelector('.content')];
    return Math.max(...boxes.filter(Boolean).map(box => box.scrollWidth - box.clientWidth));
}"""
"""By how many pixels what a page holds is wider than the window, or than the box that would scroll in its place."""


@attrs.frozen
class Site:
    """The built pages.

    Attributes:
        folder: Where they are.
        excess: By page and window width: how many pixels are to be scrolled sideways.
    """

    folder: Path
    excess: dict[str, dict[int, int]] = attrs.field(factory=dict[str, dict[int, int]])

    async def measure(self, browser: Browser) -> None:
        """Open each page once, without its scripts' network, and give the window each width in turn."""
        context = await browser.new_context()
        page = await context.new_page()
        for path in sorted(self.folder.rglob("*.html")):
            await page.goto(path.as_uri(), wait_until="domcontentloaded")
            widths: dict[int, int] = {}
            for width in WIDTHS:
                await page.set_viewport_size({"width": width, "height": 800})
                widths[width] = await page.evaluate(_EXCESS)
            self.excess[str(path.relative_to(self.folder))] = widths
        await context.close()


def build(folder: Path) -> Site:
    """Build the documentation, as ``make docs`` does."""
    options = ["--fail-on-warning", "--nitpicky", "--quiet", "--builder", "html"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Site(folder)
