"""Takes the screenshots of the sandbox's page for docs/pictures: on a desktop, in the dark theme, on a phone.

Run: make pictures
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from asyncauth import PagoFacilJWT, Peakly, client_session
from asyncauth.sandbox import Sandbox

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "browser"))

from browser_kit import PHONE, Screen, launch  # noqa: E402 (found through the path above)

FOLDER = ROOT / "docs" / "pictures"
WIDE = (1440, 1100)


async def some_life(sandbox: Sandbox) -> None:
    """Make requests with each outcome, and tokens with some of their lifetime gone."""
    sandbox.peakly.configure(lifetime=60.0, refresh_tokens=True)
    sandbox.pago_facil.configure(login_token_lifetime=90.0)
    peakly = Peakly(username=sandbox.username, password=sandbox.password, base_url=sandbox.peakly.url)
    pago_facil = PagoFacilJWT.from_password(
        username=sandbox.username, password=sandbox.password, base_url=sandbox.pago_facil.url
    )
    customers = f"{sandbox.peakly.url}/api/Ventas/Clientes/Page"
    async with client_session(peakly, pago_facil) as http:
        for path in ("/trxs/list", "/trxs/create", "/trxs/list"):
            async with http.get(customers), http.post(f"{sandbox.pago_facil.url}{path}"):
                pass
        sandbox.peakly.revoke("access_token")
        sandbox.peakly.token_faults.server_error(times=1)
        async with http.get(customers):
            pass
        sandbox.peakly.api_faults.too_many_requests(times=1)
        async with http.get(customers), http.get(f"{sandbox.pago_facil.url}/trxs/list"):
            pass
    await asyncio.sleep(6)
    sandbox.peakly.token_faults.too_many_requests(30, times=3)
    sandbox.pago_facil.configure(token_latency=0.3)


async def take(browser: Browser, name: str, size: tuple[int, int], scheme: str, locale: str) -> None:
    """Take one screenshot."""
    async with Screen.of(browser, Sandbox(page=True), size=size, scheme=scheme, locale=locale) as screen:
        await some_life(screen.sandbox)
        if size != PHONE:
            await screen.plan("token_faults")
            await screen.page.locator("#rows tr", has_text="401").locator("button").click()
            await screen.page.evaluate("scrollTo(0, 0)")
        await screen.page.wait_for_timeout(500)
        path = FOLDER / f"sandbox-{name}.png"
        await screen.page.screenshot(path=path)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1024} KB")


async def main() -> None:
    """Take all screenshots."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    async with async_playwright() as playwright:
        browser = await launch(playwright)
        await take(browser, "light", WIDE, "light", "en-GB")
        await take(browser, "dark", WIDE, "dark", "en-GB")
        await take(browser, "phone", PHONE, "light", "es-AR")
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
