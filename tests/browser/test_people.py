"""The page for everybody: with only a keyboard, on a phone, in the dark theme, in Spanish, with a screen reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from browser_kit import DESKTOP, PHONE, Screen
from playwright.async_api import Browser, Page, expect

from asyncauth import Peakly, TokenManager
from asyncauth import sandbox as package
from asyncauth.sandbox import Sandbox

pytestmark = pytest.mark.asyncio(loop_scope="session")

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
TEXTS: dict[str, dict[str, str]] = json.loads(
    (Path(package.__file__).parent / "page" / "static" / "texts.json").read_text(encoding="utf-8")
)
FOCUSED = """() => {
  const one = document.activeElement, style = getComputedStyle(one);
  const all = [...document.querySelectorAll('*')];
  const box = one.getBoundingClientRect();
  return {
    place: all.indexOf(one), tag: one.tagName,
    label: (one.labels?.[0] ?? one).textContent.trim() || one.ariaLabel,
    fault: one.dataset.fault ?? null, name: one.dataset.name ?? null,
    system: one.closest('[data-system]')?.dataset.system ?? null,
    plan: one.closest('[data-plan]')?.dataset.plan ?? null,
    visible: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 && box.width > 0 && box.bottom > 0,
  };
}"""


async def tab(page: Page) -> dict[str, Any]:
    """Press Tab; return what then has the focus."""
    await page.keyboard.press("Tab")
    focused: dict[str, Any] = await page.evaluate(FOCUSED)
    return focused


async def tab_to(page: Page, **wanted: object) -> dict[str, Any]:
    """Press Tab until this has the focus."""
    for _ in range(250):
        focused = await tab(page)
        if wanted.items() <= focused.items():
            return focused
    pytest.fail(f"the keyboard does not reach {wanted}")


async def some_life(sandbox: Sandbox) -> None:
    """Have tokens, requests of each outcome, and a fault, so that everything there is stands on the page."""
    for _ in range(2):
        provider = Peakly(username=sandbox.username, password=sandbox.password, base_url=sandbox.peakly.url)
        async with TokenManager(provider) as manager:
            await manager.token()
    sandbox.peakly.token_faults.server_error(times=2)
    sandbox.pago_facil.refuse_connections()


async def test_on_a_phone_the_requests_come_first(browser: Browser) -> None:
    """Where there is one column, what happens stands above the switches."""
    async with Screen.of(browser, Sandbox(page=True), size=PHONE) as screen:
        tops = [
            await screen.page.locator(where).evaluate("one => one.getBoundingClientRect().top")
            for where in ("#requests", "[data-system=peakly].card")
        ]
        assert 0 < tops[0] < tops[1]


async def test_the_keyboard_alone_does_it(screen: Screen) -> None:
    """Set a lifetime, turn a fault on, and revoke, without a mouse."""
    sandbox, page = screen.sandbox, screen.page
    await page.reload()
    await screen.live()
    await tab_to(page, name="lifetime", system="peakly")
    async with screen.obeyed():
        await page.keyboard.press("Control+A")
        await page.keyboard.type("120")
        await page.keyboard.press("Enter")
    assert sandbox.peakly.settings.lifetime == 120
    await tab_to(page, tag="SUMMARY", plan="token_faults", system="peakly")
    await page.keyboard.press("Enter")
    await tab_to(page, fault="wrong_credentials", system="peakly")
    async with screen.obeyed():
        await page.keyboard.press("Space")
    assert [fault.kind for fault in sandbox.peakly.token_faults.pending] == ["wrong_credentials"]
    async with screen.obeyed():
        await page.keyboard.press("Space")
    assert not sandbox.peakly.token_faults.pending
    provider = Peakly(username=sandbox.username, password=sandbox.password, base_url=sandbox.peakly.url)
    async with TokenManager(provider) as manager:
        await manager.token()
        await page.evaluate("document.body.focus(); document.activeElement.blur()")
        await tab_to(page, tag="BUTTON", label="Revoke", system="peakly")
        async with screen.obeyed():
            await page.keyboard.press("Enter")
    assert sandbox.peakly.tokens(9) == []


async def test_the_focus_goes_from_top_to_bottom_and_shows(screen: Screen) -> None:
    """Tab goes through the page in its order; each stop has a name and an outline; the skip link is the first."""
    await screen.page.reload()
    await screen.live()
    await screen.open_all()
    first = await tab(screen.page)
    assert first["label"] == "Skip to the requests"
    stops = [first]
    while (stop := await tab(screen.page))["tag"] != "BODY" and len(stops) < 400:
        stops.append(stop)
    assert [stop["place"] for stop in stops] == sorted({stop["place"] for stop in stops})
    assert len(stops) > 150
    for stop in stops:
        assert stop["label"], stop
        assert stop["visible"], stop
    await screen.page.reload()
    await screen.live()
    await tab(screen.page)
    await screen.page.keyboard.press("Enter")
    assert (await tab(screen.page))["label"] == "Pause"


@pytest.mark.parametrize(("locale", "scheme", "size"), [("en-GB", "light", DESKTOP), ("es-AR", "dark", PHONE)])
async def test_axe_finds_nothing(browser: Browser, locale: str, scheme: str, size: tuple[int, int]) -> None:
    """No rule of axe-core is broken, contrast included, with everything unfolded, in the light and the dark theme."""
    opened = Screen.of(browser, Sandbox(page=True), locale=locale, scheme=scheme, size=size)
    async with opened as screen:
        await some_life(screen.sandbox)
        await screen.open_all()
        # The other card is built alike: unfolded as well it would take as long again.
        await screen.card("pago_facil").evaluate("one => one.querySelectorAll('details').forEach(d => d.open = false)")
        await expect(screen.page.locator("#rows tr")).to_have_count(2)
        await expect(screen.card("pago_facil").locator(".badge.bad")).to_be_visible()
        await screen.press(screen.card("peakly").locator("button.revoke"))
        await screen.page.locator("#rows button").first.click()
        await expect(screen.page.locator("#rows tr.more")).to_be_visible()
        back = await screen.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert (sum(map(int, back[4:-1].split(","))) < 150) == (scheme == "dark")
        await screen.page.evaluate(AXE)
        found = await screen.page.evaluate("axe.run({resultTypes: ['violations']})")
        broken = [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found["violations"]]
        assert broken == []
        assert len(found["passes"]) > 20


@pytest.mark.parametrize("locale", ["en-GB", "es-AR"])
async def test_nothing_is_wider_than_the_screen(browser: Browser, locale: str) -> None:
    """From 320 px on there is nothing to scroll sideways, with everything unfolded, in either language."""
    async with Screen.of(browser, Sandbox(page=True), locale=locale, size=PHONE) as screen:
        await some_life(screen.sandbox)
        await screen.open_all()
        await expect(screen.page.locator("#rows tr")).to_have_count(2)
        for width in (320, 360, 480, 736, 900, 1152, 1280, 1920):
            await screen.page.set_viewport_size({"width": width, "height": 800})
            wide = await screen.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width


async def test_spanish_by_the_browser(browser: Browser) -> None:
    """A browser that speaks Spanish is answered in Spanish, all of it; a switch changes it, and is remembered."""
    async with Screen.of(browser, Sandbox(page=True), locale="es-CL") as screen:
        page, sandbox = screen.page, screen.sandbox
        assert await page.evaluate("document.documentElement.lang") == "es"
        await some_life(sandbox)
        await expect(screen.card("peakly").locator(".heading .total").first).to_have_text("2 vigentes")
        await expect(page.locator("#connection")).to_have_text("En vivo")
        await screen.press(screen.card("peakly").locator("button.revoke"))
        await expect(page.locator("#announcement")).to_have_text("Peakly: 2 tokens revocados.")
        told = await page.evaluate(
            "[...document.querySelectorAll('[data-text]')].map(e => [e.dataset.text, e.textContent])"
        )
        assert len(told) > 100
        for key, text in told:
            assert text == TEXTS["es"][key]
        await page.locator("#language").select_option("en")
        await expect(page.locator("#connection")).to_have_text("Live")
        await expect(screen.card("pago_facil").locator(".badge")).to_have_text("Refuses connections")
        await page.reload()
        await screen.live()
        assert await page.evaluate("document.documentElement.lang") == "en"
        assert screen.complaints == []


async def test_other_languages_are_answered_in_english(browser: Browser) -> None:
    """A browser that speaks neither gets English."""
    async with Screen.of(browser, Sandbox(page=True), locale="fr-FR") as screen:
        await expect(screen.page.locator("#connection")).to_have_text("Live")


async def test_little_is_read_out(screen: Screen) -> None:
    """Two places speak up by themselves, the connection and the last order: no countdown, no list."""
    live = await screen.page.evaluate(
        "[...document.querySelectorAll('[aria-live], [role=status], [role=alert], [role=log]')].map(e => e.id)"
    )
    assert live == ["connection", "announcement"]
