"""No other page in the browser can control the sandbox, or read what its page receives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from browser_kit import launch
from playwright.async_api import Browser, Page, async_playwright

from asyncauth.sandbox import Sandbox

pytestmark = pytest.mark.asyncio(loop_scope="session")

ATTEMPTS = {
    "as the page does it": """url => fetch(url + '_sandbox/reset', {method: 'POST', body: '{}',
        headers: {'Content-Type': 'application/json', 'X-Asyncauth-Sandbox': 'page'}})""",
    "as a simple request": """url => fetch(url + '_sandbox/reset', {method: 'POST', body: '{}', mode: 'no-cors'})""",
    "as JSON without the header": """url => fetch(url + '_sandbox/reset', {method: 'POST', body: '{}',
        headers: {'Content-Type': 'application/json'}})""",
    "as a beacon": """url => navigator.sendBeacon(url + '_sandbox/reset', new Blob(['{}'], {type: 'text/plain'}))""",
}
READS = {
    "state": "url => fetch(url + '_sandbox/state').then(answer => answer.text())",
    "description": "url => fetch(url + 'description').then(answer => answer.text())",
    "events": """url => new Promise((heard, failed) => {
        const events = new EventSource(url + 'events');
        events.addEventListener('state', heard);
        events.onerror = () => { events.close(); failed(new Error('nothing')); };
    })""",
    "script": """url => new Promise((loaded, failed) => {
        const script = document.createElement('script');
        script.src = url + 'page.js'; script.onload = loaded; script.onerror = () => failed(new Error('nothing'));
        document.head.append(script);
    })""",
}


@pytest_asyncio.fixture(loop_scope="session", params=["127.0.0.1", "localhost"])
async def stranger(browser: Browser, request: pytest.FixtureRequest) -> AsyncIterator[Page]:
    """A page of another origin: another port of this machine, and another name of it."""

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(text="<!doctype html><title>stranger</title>", content_type="text/html")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"http://{request.param}:{runner.addresses[0][1]}/")
    yield page
    await context.close()
    await runner.cleanup()


@pytest.fixture
def state(sandbox: Sandbox) -> dict[str, Any]:
    """The sandbox's state, with something in it that a reset would undo."""
    sandbox.peakly.settings.lifetime = 77
    sandbox.peakly.token_faults.hang()
    return sandbox.state()


@pytest.mark.parametrize("attempt", ATTEMPTS)
async def test_another_page_gives_no_orders(
    sandbox: Sandbox, stranger: Page, state: dict[str, Any], attempt: str
) -> None:
    """Whatever another origin's script sends, nothing changes."""
    async with stranger.expect_event("request"):
        tried = f"url => Promise.resolve(({ATTEMPTS[attempt]})(url)).then(() => 1, () => 0)"
        await stranger.evaluate(tried, sandbox.page_url)
    await stranger.wait_for_timeout(100)  # a beacon is sent in the browser's own time
    assert sandbox.state() == state


async def test_another_page_posts_no_form(sandbox: Sandbox, stranger: Page, state: dict[str, Any]) -> None:
    """A form that another origin submits into this page's port is refused."""
    async with stranger.expect_navigation() as answered:
        await stranger.evaluate(
            """url => { const form = document.createElement('form'); form.method = 'post'; form.enctype = 'text/plain';
            form.action = url + '_sandbox/reset'; document.body.append(form); form.submit(); }""",
            sandbox.page_url,
        )
    answer = await answered.value
    assert answer is not None
    assert answer.status == 403
    assert sandbox.state() == state


@pytest.mark.parametrize("read", READS)
async def test_another_page_reads_nothing(sandbox: Sandbox, stranger: Page, read: str) -> None:
    """Another origin gets neither state nor events, not even the scripts."""
    told = f"url => ({READS[read]})(url).then(() => 'something', () => 'nothing')"
    got = await stranger.evaluate(told, sandbox.page_url)
    assert got == "nothing"


async def test_no_page_frames_it(sandbox: Sandbox, stranger: Page) -> None:
    """The page shows in no frame of another origin, where a click could be stolen."""
    await stranger.evaluate(
        """url => new Promise(done => { const frame = document.createElement('iframe'); frame.src = url;
        frame.onload = done; document.body.append(frame); })""",
        sandbox.page_url,
    )
    frame = stranger.frames[1]
    assert sandbox.page_url != frame.url
    assert await frame.locator("h1", has_text="asyncauth").count() == 0


async def test_a_rebound_name_is_refused(sandbox: Sandbox) -> None:
    """A name of somebody else's that resolves to this machine gets nothing, though to the browser it is one origin."""
    port = str(sandbox.page_url).rstrip("/").rpartition(":")[2]
    async with async_playwright() as playwright:
        browser = await launch(playwright, "--host-resolver-rules=MAP evil.example 127.0.0.1")
        page = await browser.new_page()
        answer = await page.goto(f"http://evil.example:{port}/")
        assert answer is not None
        assert answer.status == 403
        before = sandbox.state()
        status = await page.evaluate(f"() => ({ATTEMPTS['as the page does it']})('/').then(answer => answer.status)")
        assert (status, sandbox.state()) == (403, before)
        await browser.close()


async def test_the_page_asks_for_nothing_from_elsewhere(browser: Browser) -> None:
    """Every request of the page goes to its own origin."""
    asked: list[str] = []
    async with Sandbox(page=True) as sandbox:
        context = await browser.new_context()
        page = await context.new_page()
        page.on("request", lambda sent: asked.append(sent.url))
        await page.goto(str(sandbox.page_url))
        await page.wait_for_selector("#connection.open")
        await context.close()
        assert len(asked) > 10
        assert all(url.startswith(str(sandbox.page_url)) for url in asked)
