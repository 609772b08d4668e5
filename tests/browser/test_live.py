"""What the page shows goes with what happens: tokens, requests, counts, and the connection itself."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from browser_kit import Screen
from playwright.async_api import Browser, Locator, expect

from asyncauth import CredentialsRejected, Peakly, TokenManager, client_session
from asyncauth.sandbox import Sandbox

pytestmark = pytest.mark.asyncio(loop_scope="session")


COUNTDOWN = """() => { window.countdown = new Promise(ended => {
    const list = document.querySelector('[data-system=peakly] ul.tokens'), texts = [];
    let token = null;
    new MutationObserver((_, observer) => {
        token ??= list.querySelector('li:not(.gone)');
        const left = token?.querySelector('.left').textContent;
        if (left && left !== texts.at(-1)) texts.push(left);
        if (left !== 'expired') return;
        observer.disconnect();
        ended(texts);
    }).observe(list, {childList: true, subtree: true, characterData: true});
}); }"""
"""Follows the next token's countdown in the page itself, so that no text of it is missed on a busy machine."""


def peakly(sandbox: Sandbox) -> Peakly:
    return Peakly(username=sandbox.username, password=sandbox.password, base_url=sandbox.peakly.url)


@pytest.mark.parametrize("which", ["all of the system", "one token"])
async def test_the_revoke_button_makes_the_next_request_renew(screen: Screen, which: str) -> None:
    """A revoked token costs the client one token request, and the caller nothing: each request is answered 200."""
    sandbox = screen.sandbox
    card = screen.card("peakly")
    async with client_session(peakly(sandbox)) as http:
        for _ in range(2):
            async with http.get(f"{sandbox.peakly.url}/api/before") as response:
                assert response.status == 200
        assert (sandbox.peakly.counts.token_requests, sandbox.peakly.counts.api_refused) == (1, 0)
        row = card.locator("ul.tokens li:not(.gone)")
        await expect(row).to_have_count(1)
        old = await row.locator("code").inner_text()
        await screen.press(card.locator("button.revoke") if which == "all of the system" else row.locator("button"))
        await expect(screen.page.locator("#announcement")).to_have_text("Peakly: 1 token revoked.")
        await expect(card.locator("ul.tokens li.gone").filter(has_text=old)).to_contain_text("revoked")
        async with http.get(f"{sandbox.peakly.url}/api/after") as response:
            assert response.status == 200
        assert (sandbox.peakly.counts.token_requests, sandbox.peakly.counts.api_refused) == (2, 1)
        await expect(row).to_have_count(1)
        assert await row.locator("code").inner_text() != old


async def test_revoking_one_kind(screen: Screen) -> None:
    """The tokens of the chosen kind are revoked, the others live on."""
    sandbox = screen.sandbox
    sandbox.peakly.settings.refresh_tokens = True
    async with client_session(peakly(sandbox)) as http, http.get(f"{sandbox.peakly.url}/api/x"):
        pass
    card = screen.card("peakly")
    await card.locator(".actions select").select_option("refresh_token")
    await screen.press(card.locator("button.revoke"))
    assert [token.kind for token in sandbox.peakly.tokens(9)] == ["access_token"]
    await card.locator(".actions select").select_option("")


async def test_tokens_count_down(screen: Screen) -> None:
    """A token's time runs out on the page as it does on the server; then it is said to have expired, and goes."""
    sandbox = screen.sandbox
    sandbox.peakly.settings.lifetime = 4.0
    await screen.page.evaluate(COUNTDOWN)
    async with client_session(peakly(sandbox)) as http, http.get(f"{sandbox.peakly.url}/api/x"):
        pass
    texts: list[str] = await screen.page.evaluate("window.countdown")
    assert texts[-1] == "expired"
    left = [float(text.removesuffix(" s")) for text in texts[:-1]]
    assert left == sorted(left, reverse=True)
    assert len(left) > 3
    await expect(screen.card("peakly").locator(".tokens .quiet").first).to_have_text("No valid tokens.")


async def test_requests_show_as_they_come(screen: Screen) -> None:
    """Each request is in the list with its status in words or figures, newest on top, and no token is on the page."""
    sandbox, rows = screen.sandbox, screen.page.locator("#rows tr")
    async with client_session(peakly(sandbox)) as http:
        async with http.get(f"{sandbox.peakly.url}/api/<b>bold</b>?secret=no") as response:
            token = (await response.json())["headers"].get("Authorization", "")
        await expect(rows).to_have_count(2)
        await expect(rows.nth(0)).to_contain_text("GET /api/<b>bold</b>")
        await expect(rows.nth(0).locator(".status")).to_have_text("✓200")
        await expect(rows.nth(1)).to_contain_text("Peakly · password")
        numbers = screen.card("peakly").locator(".counts > div")
        await expect(numbers.filter(has_text="Answered 200").locator("dd")).to_have_text("1")
        sandbox.peakly.api_faults.disconnect(times=1)
        with pytest.raises(OSError):
            await http.post(f"{sandbox.peakly.url}/api/y", data=_once())
        await expect(rows.nth(0)).to_contain_text("no answer")
    content = await screen.page.content()
    assert "secret=no" not in content
    assert token == ""
    assert not re.search(r"[\w-]{40}", await screen.page.locator("main").inner_text())


async def _once() -> AsyncIterator[bytes]:
    yield b"can't be sent twice"


async def test_a_request_opens(screen: Screen) -> None:
    """All that is known of it stands below: why it was refused, which token, fields and headers, and no secret."""
    sandbox, page = screen.sandbox, screen.page
    wrong = Peakly(username=sandbox.username, password="a wrong password", base_url=sandbox.peakly.url)
    with pytest.raises(CredentialsRejected):
        await TokenManager(wrong).token()
    await page.locator("#rows button.path").first.click()
    more = page.locator("#rows tr.more")
    await expect(more).to_contain_text("The password is not the one on this page.")
    await expect(more).to_contain_text("grant_typepassword")
    await expect(more).to_contain_text("usernamedemo@example.com (right)")
    await expect(more).to_contain_text("passwordnot the right one")
    async with client_session(peakly(sandbox)) as http:
        async with http.get(f"{sandbox.peakly.url}/api/x", headers={"X-Private": "do not show"}):
            pass
        await expect(page.locator("#rows tr.request")).to_have_count(3)
        await expect(more).to_have_count(1)  # it stays open below those that came
        (token,) = sandbox.peakly.tokens(9)
        await page.locator("#rows button.path").first.click()
        await expect(more.first).to_contain_text(f"Token{token.fingerprint}")
        await expect(more.first).to_contain_text("An echo of the request.")
        await expect(more.first).to_contain_text(f"Authorizationtoken {token.fingerprint}")
        await expect(more.first).to_contain_text("X-Private11 characters")
    button = page.locator("#rows button.path").first
    await button.click()
    await expect(button).to_have_attribute("aria-expanded", "false")
    await expect(more).to_have_count(1)
    content = await page.content()
    assert "a wrong password" not in content
    assert "do not show" not in content


async def test_user_and_password_are_copied(screen: Screen) -> None:
    """A button copies each; where that is not allowed, what is to be copied is marked."""
    page, sandbox = screen.page, screen.sandbox
    card = screen.card("peakly")
    await expect(card.locator(".login")).to_contain_text(sandbox.password)
    await page.evaluate("() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; }")
    for name, value in (("username", sandbox.username), ("password", sandbox.password)):
        await card.locator(f"[data-copies={name}]").click()
        await page.wait_for_function("value => window.copied === value", arg=value)
        await expect(page.locator("#announcement")).to_have_text("Copied.")
    await page.evaluate("() => { navigator.clipboard.writeText = async () => { throw new Error('no'); }; }")
    await card.locator("[data-copies=password]").click()
    await expect(page.locator("#announcement")).to_contain_text("copy it by hand")
    assert await page.evaluate("getSelection().toString()") == sandbox.password
    sandbox.peakly.configure(password="another one")
    await expect(card.locator(".login")).to_contain_text("another one")


async def test_the_list_is_bounded_and_can_be_held_still(screen: Screen) -> None:
    """A hundred requests are shown at most; paused, the list stays as it is until it goes on."""
    sandbox, rows = screen.sandbox, screen.page.locator("#rows tr")
    async with client_session(peakly(sandbox)) as http:
        for _ in range(150):
            async with http.get(f"{sandbox.peakly.url}/api/early"):
                pass
        await expect(rows).to_have_count(100)
        pause = screen.page.locator("#pause")
        await pause.click()
        await expect(pause).to_have_attribute("aria-pressed", "true")
        async with http.get(f"{sandbox.peakly.url}/api/late"):
            pass
        numbers = screen.card("peakly").locator(".counts > div").filter(has_text="API requests").locator("dd")
        await expect(numbers).to_have_text("151")
        await screen.caught_up()
        assert "/api/late" not in await rows.nth(0).inner_text()
        await pause.click()
        await expect(rows.nth(0)).to_contain_text("/api/late")


async def test_what_others_change_shows(screen: Screen) -> None:
    """What a test or another page changes is on the page at once: settings, faults and what is left of them."""
    sandbox = screen.sandbox
    sandbox.pago_facil.configure(login_lifetime=7, clock_skew=-90.0)
    sandbox.pago_facil.token_faults.server_error(500, times=3)
    sandbox.peakly.token_faults.replace_fields({"expires_in": float("nan")})
    card = screen.card("pago_facil")
    await expect(card.locator("[data-name=login_lifetime]")).to_have_value("7")
    await expect(card).to_contain_text("= \N{MINUS SIGN}1 min 30 s")
    plan = await screen.plan("token_faults", "pago_facil")
    await expect(plan.locator("> summary")).to_contain_text("1 active")
    await expect(plan.locator("li.fault").filter(has_text="Server error")).to_contain_text("on, 3 left")
    await expect(plan.locator("[data-fault=server_error]")).to_be_checked()
    await expect((await screen.plan("token_faults")).locator("[data-fault=replace_fields]")).to_be_checked()


async def test_start_over(screen: Screen) -> None:
    """One button empties the counts, another puts everything back as it was at the start."""
    sandbox = screen.sandbox
    async with client_session(peakly(sandbox)) as http, http.get(f"{sandbox.peakly.url}/api/x"):
        pass
    await screen.turn("api_faults", "hang")
    await screen.press(screen.page.locator("#reset-counts"))
    await expect(screen.page.locator("#rows tr")).to_have_count(0)
    assert (sandbox.peakly.counts.token_requests, len(sandbox.peakly.tokens(9))) == (0, 1)
    assert sandbox.peakly.api_faults.pending
    await screen.press(screen.page.locator("#reset"))
    assert not sandbox.peakly.api_faults.pending
    assert not sandbox.peakly.tokens(9)
    await expect((await screen.plan("api_faults")).locator("[data-fault=hang]")).not_to_be_checked()


def reason_of(entry: Locator) -> Locator:
    """Return where it stands why a value can't be used: in the same row."""
    return entry.locator("xpath=ancestor::*[contains(@class, 'field')]").locator(".error")


async def test_what_cannot_be_used_changes_nothing(screen: Screen) -> None:
    """A value that makes no sense is marked and not sent. One that the sandbox refuses is restored, with a notice."""
    entry = screen.card("peakly").locator("[data-name=lifetime]")
    for value in ("-1", ""):
        await entry.fill(value)
        await entry.press("Enter")
        await expect(entry).to_have_attribute("aria-invalid", "true")
        await expect(reason_of(entry)).to_have_text("Must be at least 0." if value else "Must be a number.")
    await entry.blur()
    await screen.open_all()
    user = screen.card("peakly").locator("[data-name=username]")
    await user.fill("")
    async with screen.page.expect_response(lambda answer: answer.status == 400):
        await user.press("Enter")
    await expect(screen.page.locator("#announcement")).to_contain_text(
        "The sandbox did not accept the change: username must be"
    )
    await expect(reason_of(user)).to_contain_text("username must be")
    await user.blur()
    await expect(user).to_have_value("demo@example.com")
    await expect(reason_of(user)).to_contain_text("username must be")  # what was wrong is still said
    row = (await screen.plan("token_faults")).locator("li.fault").filter(has_text="Wrong values")
    await row.locator("[data-name=values]").fill("{no json")
    await row.locator("[data-fault=replace_fields]").click()
    await expect(screen.page.locator("#announcement")).to_have_text("An option has a value that cannot be used.")
    await expect(row.locator("[data-fault=replace_fields]")).not_to_be_checked()
    await expect(reason_of(row.locator("[data-name=values]"))).to_have_text("This is not a JSON object.")
    assert screen.sandbox.peakly.settings.lifetime == 14 * 86400
    assert screen.sandbox.peakly.settings.username == "demo@example.com"
    assert not screen.sandbox.peakly.token_faults.pending
    assert [line for line in screen.complaints if "400" not in line] == []
    screen.complaints.clear()  # a browser's console notes each 400
    await screen.page.reload()
    await screen.live()


async def test_a_lost_connection_is_told_and_found_again(browser: Browser) -> None:
    """When the sandbox ends the page says so; when it is back the page goes on, with what is now."""
    async with Screen.of(browser, Sandbox(page=True)) as screen:
        port = int(screen.page.url.rstrip("/").rpartition(":")[2])
        await screen.enter("lifetime", "33")
        await screen.sandbox.stop()
        await expect(screen.page.locator("#connection")).to_contain_text("Connection lost")
        await screen.page.locator("#reset").click()
        await expect(screen.page.locator("#announcement")).to_have_text("The sandbox does not answer.")
        async with Sandbox(page=True, page_port=port) as second:
            await expect(screen.page.locator("#connection")).to_have_text("Live")
            await expect(screen.card("peakly").locator(".address")).to_have_text(second.peakly.url)
            await expect(screen.card("peakly").locator("[data-name=lifetime]")).to_have_value("1209600")
            await screen.enter("lifetime", "44")
            assert second.peakly.settings.lifetime == 44
