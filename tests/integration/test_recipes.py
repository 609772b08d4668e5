"""The declarations of docs/howto/find-your-api.md, against emulated endpoints of the systems that they are for."""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import runpy
import time
import zlib
from base64 import b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import aiohttp
import attrs
import pytest
import pytest_asyncio
from aiohttp import web
from harness.canary import also, secret
from joserfc.jwk import RSAKey
from loopback import nothing_left

import asyncauth
from asyncauth import BearerAuth, CredentialsRejected, TokenEndpointUnavailable, TokenManager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

WRITER = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "write_recipes.py"))
RECIPES: list[Mapping[str, Any]] = WRITER["recipes"]()
MOST_LINES = 10

every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe["title"])


@pytest_asyncio.fixture(autouse=True)
async def tidy() -> AsyncIterator[None]:
    async with nothing_left():
        yield


def variables(recipe: Mapping[str, Any]) -> list[str]:
    """Return the environment variables that a recipe reads."""
    return sorted(set(re.findall(r"""os\.environ\[["'](\w+)["']\]""", recipe["code"] + recipe.get("helper", ""))))


@functools.cache
def private_key(number: int) -> str:
    """Return a key in PEM, the same one each time."""
    return also(RSAKey.generate_key(2048).as_pem(private=True).decode())


def value(name: str, number: int) -> str:
    """Return a credential: number 0 is right, 1 is wrong."""
    if name.endswith("PRIVATE_KEY"):
        return private_key(number)
    return secret(f"{zlib.crc32(name.encode()):x}+/=:%{number}")  # unlike any word of an error's


def instant(match: re.Match[str]) -> str:
    """Return a time to come, as it is spelled in an answer."""
    moment = time.time() + int(match[2])
    if match[1] == "jwt":
        claims = urlsafe_b64encode(json.dumps({"exp": int(moment), "iat": int(time.time())}).encode()).decode()
        return f"eyJhbGciOiJub25lIn0.{claims.rstrip('=')}.{secret('jwt')}"
    spelled = {"iso": datetime.fromtimestamp(moment, UTC).isoformat(), "http": formatdate(moment, usegmt=True)}
    return spelled.get(match[1], str(int(moment)))


@attrs.define
class System:
    """An emulated system: it knows one token request, and what its API wants to see."""

    recipe: Mapping[str, Any]
    right: bool = True
    busy: bool = False
    token: str = ""
    url: str = ""
    flaws: list[str] = attrs.field(factory=list[str])
    asked: int = 0
    carried: list[str] = attrs.field(factory=list[str])

    def filled(self, text: str) -> str:
        """Return a text of the recipe with the values of this run."""
        for name in variables(self.recipe):
            text = text.replace(f"${name}", json.dumps(value(name, 0 if self.right else 1))[1:-1])
        text = text.replace("$TOKEN", self.token).replace("$REFRESH", secret("refresh"))
        return re.sub(r"@(jwt|iso|http|epoch)\+(\d+)", instant, text)

    async def serve(self, request: web.Request) -> web.Response:
        """Answer a request: for a token, or to the API."""
        recipe, this = self.recipe, f"{request.method} {request.path}"
        if request.path == "/api":
            name, _, wanted = recipe.get("carried", "Authorization: Bearer $TOKEN").partition(": ")
            good = request.headers.get(name) == wanted.replace("$TOKEN", self.token)
            self.carried.append("yes" if good else repr(dict(request.headers)))
            return web.Response(status=200 if good else 401)
        for step in map(json.loads, recipe.get("then", ())):
            if this == step[0]:
                return web.json_response(json.loads(self.filled(json.dumps(step[1]))))
        self.asked += 1
        await self.check(request, this)
        if self.busy:
            return self.answer(recipe["busy"], recipe.get("status", 401), {})
        if not self.right:
            return self.answer(recipe["refusal"], recipe.get("status", 401), {})
        self.token = secret(f"token{self.asked}")
        headers = {name: self.filled(text) for name, text in recipe.get("answer_headers", {}).items()}
        return self.answer(recipe["answer"], 200, headers)

    def answer(self, text: str, status: int, headers: dict[str, str]) -> web.Response:
        body = self.filled(text)
        if "@jwt" in text:
            self.token = re.findall(r"eyJ[\w.+/=:% -]+", body)[0]
        kind = {"{": "application/json", "<": "text/xml"}.get(body[:1], "text/plain")
        return web.Response(text=body, status=status, headers=headers, content_type=kind)

    async def check(self, request: web.Request, this: str) -> None:
        """Note what is not as the system's documentation wants it."""
        body = (await request.read()).decode()
        wanted = json.loads(self.filled(self.recipe["sends"]))
        seen: dict[str, Any] = {"query": dict(request.query)} if request.query else {}
        if this != self.recipe["request"]:
            self.flaws.append(this)
        authorization = request.headers.get("Authorization", "")
        if authorization.startswith("Basic "):
            pair = b64decode(authorization.removeprefix("Basic ")).decode()
            seen["basic_raw" if "basic_raw" in wanted else "basic"] = pair.split(":", 1)
        if "headers" in wanted:
            seen["headers"] = {name: request.headers.get(name) for name in wanted["headers"]}
        kind = request.content_type if body else ""
        if kind == "application/x-www-form-urlencoded":
            seen["form"] = dict(parse_qsl(body, keep_blank_values=True))
        elif kind == "application/json":
            seen["json"] = json.loads(body)
        elif body:
            seen["text"] = body
        if not fits(wanted, seen) and not fits(wanted, {**seen, "basic": list(map(unquote, seen.get("basic", ())))}):
            self.flaws.append(f"{seen} is not {wanted}")


def fits(wanted: Any, seen: Any) -> bool:
    """Return whether a request is as it is wanted: ``*`` stands for any text."""
    if isinstance(wanted, dict) and isinstance(seen, dict):
        return wanted.keys() == seen.keys() and all(fits(each, seen[name]) for name, each in wanted.items())
    if isinstance(wanted, str) and isinstance(seen, str):
        return re.fullmatch(".*".join(map(re.escape, wanted.split("*"))), seen, re.DOTALL) is not None
    return bool(wanted == seen)


@pytest_asyncio.fixture
async def system(recipe: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[System]:
    """The recipe's system on loopback, with right credentials in the environment."""
    emulated = System(recipe)
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", emulated.serve)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    emulated.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    for name in variables(recipe):
        monkeypatch.setenv(name, value(name, 0))
    try:
        yield emulated
    finally:
        await runner.cleanup()


def declared(system: System) -> Any:
    """Return what a recipe's code makes, with every address leading to the emulated system."""
    recipe = system.recipe
    code = recipe["code"].strip()
    if recipe["section"] in {"Chile", "Argentina"} and "://" not in code:  # built in: the address is the provider's own
        code = code.replace("(\n", f'(\n    base_url="{system.url}",\n', 1)
    names: dict[str, Any] = {name: getattr(asyncauth, name) for name in asyncauth.__all__} | {"os": os}
    exec(recipe.get("helper", ""), names)  # noqa: S102 (the page's own code)
    code = re.sub(r"https://[\w.:-]+(?=[/\"])", system.url, code)
    return eval(code, names)  # noqa: S307


@every_recipe
async def test_a_token_is_obtained_and_carried(recipe: Mapping[str, Any], system: System) -> None:
    """The request is what the system wants, the token lives as long as it says, and the API takes it."""
    provider = declared(system)
    provider.origins = (system.url,)
    async with TokenManager(provider) as manager:
        token = await manager.token()
        assert not system.flaws
        assert token.value == system.token
        wanted = recipe.get("lifetime")
        assert token.lifetime == (None if wanted is None else pytest.approx(wanted, abs=2.1))
        async with (
            aiohttp.ClientSession(middlewares=(BearerAuth(manager),)) as http,
            http.get(f"{system.url}/api") as answer,
        ):
            assert (answer.status, system.carried) == (200, ["yes"])
        assert provider.identity is not None or "account=" not in recipe["code"]


@every_recipe
async def test_a_wrong_credential_is_told(
    recipe: Mapping[str, Any], system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent once, and the error has the server's words and none of ours."""
    system.right = False
    for name in variables(recipe):
        monkeypatch.setenv(name, value(name, 1))
    async with TokenManager(declared(system)) as manager:
        for _ in range(3):
            with pytest.raises(CredentialsRejected) as caught:
                await manager.token()
    assert not system.flaws
    assert system.asked == 1
    assert recipe["says"] in str(caught.value)
    assert not [name for name in variables(recipe) if value(name, 1) in str(caught.value)]


@pytest.mark.parametrize("recipe", [each for each in RECIPES if "busy" in each], ids=lambda recipe: recipe["title"])
async def test_a_server_that_can_not_answer_now(recipe: Mapping[str, Any], system: System) -> None:
    """A rate limit that a system reports in its own way does not count as a rejection."""
    system.busy = True
    async with aiohttp.ClientSession() as http:
        with pytest.raises(TokenEndpointUnavailable):
            await declared(system).fetch(http, None)
    assert not system.flaws


@every_recipe
def test_a_recipe_is_short(recipe: Mapping[str, Any]) -> None:
    """At most ten lines, besides lone brackets, and no line too long for the page."""
    lines = recipe["code"].strip().splitlines()
    assert len([line for line in lines if line.strip(" ()[]{},")]) <= MOST_LINES + 1  # the first names the provider
    assert max(map(len, lines)) <= 120
    ast.parse(recipe["code"].strip(), mode="eval")


def test_the_page_is_written_from_the_data() -> None:
    """The page is what scripts/write_recipes.py makes of the recipes: run it after each change."""
    assert WRITER["PAGE"].read_text(encoding="utf-8") == WRITER["page"](RECIPES)


def test_titles_and_data_are_whole() -> None:
    """Each system stands there once, with its documentation."""
    titles = [recipe["title"] for recipe in RECIPES]
    assert len(titles) == len(set(titles)) > 40
    known = {"title", "section", "about", "source", "code", "helper", "note", "request", "sends", "answer", "then"}
    known |= {"answer_headers", "busy", "lifetime", "refusal", "status", "says", "carried"}
    for recipe in RECIPES:
        assert recipe.keys() <= known, recipe["title"]
        assert recipe["source"].startswith("https://")
