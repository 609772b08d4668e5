"""What the browser tests share: Chromium, and the page with the hands of somebody who uses it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from typing import TYPE_CHECKING, Any

import attrs
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, Playwright, Request, expect

from asyncauth.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncauth.sandbox.plan import FaultPlan

DESKTOP, PHONE = (1280, 900), (360, 740)
expect.set_options(timeout=10_000)


async def launch(playwright: Playwright, *arguments: str) -> Browser:
    """Start the machine's Chromium, without its own sandbox where that can't work: as root."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    assert found, "no Chromium: `make test-browser` installs it"
    as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return await playwright.chromium.launch(executable_path=found, args=[*as_root, *arguments])


@attrs.frozen
class Screen:
    """The sandbox's page in a browser.

    Attributes:
        page: Playwright's page.
        sandbox: What it shows.
        complaints: What the browser's console said of errors and of violations of the policy.
        foreign: The addresses outside of the page's own that it asked for.
    """

    page: Page
    sandbox: Sandbox
    complaints: list[str] = attrs.field(factory=list)
    foreign: list[str] = attrs.field(factory=list)

    @classmethod
    @contextlib.asynccontextmanager
    async def of(
        cls,
        browser: Browser,
        sandbox: Sandbox,
        *,
        size: tuple[int, int] = DESKTOP,
        locale: str = "en-GB",
        scheme: Any = "light",
    ) -> AsyncIterator[Screen]:
        """Run this sandbox, open its page in a profile of its own, and wait until it is live."""
        async with sandbox, cls._of(browser, sandbox, size=size, locale=locale, scheme=scheme) as screen:
            yield screen

    @classmethod
    @contextlib.asynccontextmanager
    async def _of(
        cls, browser: Browser, sandbox: Sandbox, *, size: tuple[int, int], locale: str, scheme: Any
    ) -> AsyncIterator[Screen]:
        assert sandbox.page_url is not None
        context = await browser.new_context(
            viewport={"width": size[0], "height": size[1]}, locale=locale, color_scheme=scheme
        )
        screen = cls(await context.new_page(), sandbox)
        own = sandbox.page_url
        screen.watch(own)
        try:
            await screen.page.goto(own)
            await screen.live()
            yield screen
        finally:
            await context.close()

    def watch(self, own: str) -> None:
        """Note the browser's complaints, and what is asked of anybody else."""

        def said(line: ConsoleMessage) -> None:
            if line.type == "error":
                self.complaints.append(line.text)

        def asked(sent: Request) -> None:
            if not sent.url.startswith(own):
                self.foreign.append(sent.url)

        self.page.on("console", said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", asked)

    async def live(self) -> None:
        """Wait until the page follows the sandbox."""
        await expect(self.page.locator("#connection.open")).to_be_visible()
        await expect(self.card("peakly").locator(".address")).to_contain_text("http://")
        await self.caught_up()

    async def caught_up(self) -> None:
        """Wait until the page has every request that the sandbox has logged, and the state as it then was.

        The page notes the last event that it was sent, and an event that tells of requests follows that of the state.
        """
        log = self.sandbox.log
        seen = re.compile(rf"-{log.total}-{log.cleared}$")
        await expect(self.page.locator("#rows")).to_have_attribute("data-seen", seen)

    async def reset(self) -> None:
        """Put the sandbox back to its start, and wait until the page shows that.

        A field that has the focus would keep what was entered.
        """
        await self.page.evaluate("document.activeElement.blur()")
        self.sandbox.reset()
        await self.caught_up()

    def card(self, system: str) -> Locator:
        """A system's card."""
        return self.page.locator(f"[data-system={system}].card")

    async def open_all(self) -> None:
        """Open everything that is folded."""
        await self.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")

    async def plan(self, plan: str, system: str = "peakly") -> Locator:
        """A plan of faults, unfolded."""
        found = self.card(system).locator(f"[data-plan={plan}]")
        if await found.get_attribute("open") is None:
            await found.locator("> summary").click()
        return found

    async def turn(self, plan: str, kind: str, system: str = "peakly", **options: str) -> None:
        """Turn a fault's switch, with these options entered before, and wait until the sandbox has obeyed."""
        row = (await self.plan(plan, system)).locator("li.fault").filter(has=self.page.locator(f"[data-fault={kind}]"))
        fold = row.locator("details")
        if options and await fold.get_attribute("open") is None:
            await fold.locator("> summary").click()
        for name, value in options.items():
            entry = row.locator(f"[data-name={name}]")
            if await entry.evaluate("one => one.matches('select')"):
                await entry.select_option(value)
            else:
                await entry.fill(value)
        switch = row.locator(f"[data-fault={kind}]")
        faults: FaultPlan = getattr(self.sandbox.systems[system], plan)
        on = any(fault.kind == kind for fault in faults.pending)
        await expect(switch).to_be_checked(checked=on)
        async with self.obeyed():
            await switch.click()
        await expect(switch).to_be_checked(checked=not on)

    async def enter(self, name: str, value: str | bool, system: str = "peakly") -> None:  # noqa: FBT001
        """Set a setting as somebody would."""
        entry = self.card(system).locator(f"[data-name={name}]")
        await entry.evaluate("one => { const fold = one.closest('details'); if (fold) fold.open = true; }")
        async with self.obeyed():
            if isinstance(value, bool):
                await entry.set_checked(value)
            else:
                await entry.fill(value)
                await entry.press("Enter")

    async def press(self, button: Locator) -> None:
        """Press a button that gives an order."""
        async with self.obeyed():
            await button.click()

    @contextlib.asynccontextmanager
    async def obeyed(self) -> AsyncIterator[None]:
        """Wait for the order that is given meanwhile, which must be obeyed."""
        async with self.page.expect_response(lambda answer: "/_sandbox/" in answer.url) as answered:
            yield
        assert (await answered.value).status == 200
