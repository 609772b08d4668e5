"""The sandbox's page: its words in both languages, and what it is built from."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest

from asyncauth import Token, sandbox
from asyncauth.sandbox import Fault, Sandbox
from asyncauth.sandbox.counts import Record, RequestLog
from asyncauth.sandbox.details import Why
from asyncauth.sandbox.faults import DETAILS, KINDS, TOKEN_ONLY
from asyncauth.sandbox.ledger import Ledger
from asyncauth.sandbox.listener import is_loopback
from asyncauth.sandbox.mishaps import _WAYS
from asyncauth.sandbox.page.description import describe
from asyncauth.sandbox.page.stream import _event
from asyncauth.sandbox.settings import SystemSettings

STATIC = Path(sandbox.__file__).parent / "page" / "static"
TEXTS: dict[str, dict[str, str]] = json.loads((STATIC / "texts.json").read_text(encoding="utf-8"))
SOURCES = {path.name: path.read_text(encoding="utf-8") for path in STATIC.iterdir()}


def described() -> list[dict[str, Any]]:
    """Return what the page is told of each system."""
    told = json.loads(json.dumps(describe(Sandbox().systems.values())))
    systems: list[dict[str, Any]] = told["systems"]
    return systems


def needed() -> set[str]:
    """Return the keys that the page's files and the description ask for."""
    keys = set(re.findall(r'data-text="([^"]+)"', SOURCES["index.html"]))
    for name, source in SOURCES.items():
        if name.endswith(".js"):
            keys |= set(re.findall(r'(?:say\(|text: |label: |part\(\s*|fact\()"([^"]+)"', source))
            keys |= {key for pair in re.findall(r'say\([\w.]+ \? "([^"]+)" : "([^"]+)"\)', source) for key in pair}
            keys |= {f"{key}.{form}" for key in re.findall(r'count\("([^"]+)"', source) for form in ("one", "other")}
    keys |= {f"why.{why}" for why in get_args(Why)} | {f"value.{how}" for how in ("right", "other")}
    keys |= {f"login.{name}" for name in ("username", "password")}
    for system in described():
        keys.add(f"echo.{system['name']}")
        keys |= {f"setting.{setting['name']}" for setting in system["settings"]}
        for plan in system["plans"]:
            keys |= {f"plan.{plan['name']}", *(f"field.{field['name']}" for field in plan["scope"])}
            for kind in plan["kinds"]:
                keys |= {f"fault.{kind['kind']}", f"fault.{kind['kind']}.help"}
                keys |= {f"field.{field['name']}" for field in kind["details"]}
    return keys


def test_both_languages_have_every_text() -> None:
    """English and Spanish have the same keys, none empty, and fill in the same values."""
    english, spanish = TEXTS["en"], TEXTS["es"]
    assert list(english) == list(spanish)
    for key, text in english.items():
        assert text.strip(), key
        assert spanish[key].strip(), key
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", spanish[key])), key


def test_the_page_has_a_text_for_everything_it_shows() -> None:
    """Each key that the page asks for is in the table: every setting, fault and option has its name."""
    assert needed() <= set(TEXTS["en"]), needed() - set(TEXTS["en"])


def test_no_text_is_left_over() -> None:
    """What is in the table is asked for somewhere."""
    built = ("connection.", "count.", "unit.", "setting.", "token.", "reset.")
    asked = needed()
    assert {key for key in TEXTS["en"] if key not in asked and not key.startswith(built)} == set()


def test_the_page_asks_for_nothing_from_elsewhere() -> None:
    """No file names another host, and nothing is written inline that the policy would have to allow."""
    for name, source in SOURCES.items():
        elsewhere = [url for url in re.findall(r"(?:https?:)?//[\w.-]+\.\w+", source) if "www.w3.org" not in url]
        assert not elsewhere, name
    assert not re.search(r"<style|<script(?![^>]* src=)| style=| on\w+=", SOURCES["index.html"])
    assert not any("innerHTML" in source or "insertAdjacentHTML" in source for source in SOURCES.values())


def test_every_setting_and_every_fault_can_be_switched() -> None:
    """Nothing that the sandbox knows is left out, but the password and what needs Python."""
    for system, made in zip(described(), Sandbox().systems.values(), strict=True):
        settings = {setting["name"]: setting for setting in system["settings"]}
        assert set(settings) == set(attrs.fields_dict(type(made.settings))) - {"password"}
        assert not [name for name, setting in settings.items() if setting["input"] == "object"]
        token, api = ({kind["kind"] for kind in plan["kinds"]} for plan in system["plans"])
        assert token == KINDS - {"answer"}
        assert api == KINDS - TOKEN_ONLY - {"answer"}
    assert set(_WAYS) == KINDS


def test_lifetimes_come_first() -> None:
    """What a system alone has stands above what both have."""
    for system in described():
        own = [setting["name"] for setting in system["settings"]]
        assert "lifetime" in own[0]
        assert own.index("token_latency") > own.index(own[0])


@pytest.mark.parametrize("kind", sorted(KINDS - {"answer"}))
def test_a_switch_works_as_it_is_found(kind: str) -> None:
    """Every fault can be switched on with the values that its options begin with."""
    given = {name: value for name, value in DETAILS[kind].items() if value is not None}
    sandbox = Sandbox()
    sandbox.peakly.token_faults.switch(Fault.from_json({"kind": kind, **given}), on=True)
    assert [fault.kind for fault in sandbox.peakly.token_faults.pending] == [kind]


def test_a_new_setting_shows_up_by_itself() -> None:
    """A setting that nobody has told the page of is described all the same, to be entered as JSON."""

    @attrs.define(kw_only=True)
    class More(SystemSettings):
        brand_new: object = None

    made = Sandbox()
    made.peakly.settings = More()  # type: ignore[assignment]
    (system,) = json.loads(json.dumps(describe([made.peakly])))["systems"]
    assert system["settings"][0] == {"name": "brand_new", "input": "object", "default": None, "initial": None}


def test_a_switch_keeps_its_place() -> None:
    """Switching a fault again changes it where it stands; off drops its kind alone."""
    plan = Sandbox().peakly.token_faults
    plan.hang(times=2)
    plan.malformed()
    plan.hang()
    plan.switch(Fault(kind="hang", times=7), on=True)
    assert [(fault.kind, fault.times) for fault in plan.pending] == [("hang", 7), ("malformed", None)]
    plan.switch(Fault(kind="reset"), on=True)
    plan.switch(Fault(kind="malformed"), on=False)
    assert [fault.kind for fault in plan.pending] == ["hang", "reset"]
    with pytest.raises(ValueError, match="not of the API"):
        Sandbox().peakly.api_faults.switch(Fault(kind="wrong_credentials"), on=True)


def test_living_tokens_are_shown_by_fingerprint() -> None:
    """The newest come first, so many at most, none that is dead or used up, and no value shows."""
    book = Ledger()
    for number in range(5):
        book.issue(f"secret-{number}", "access", lifetime=10 + number, now=0.0)
    book.issue("secret-spent", "refresh", lifetime=100, now=0.0)
    book.use("secret-spent", "refresh", now=1.0, spend=True)
    shown = book.newest(10.0, 3)
    assert [(token.issued_at, token.dies_at) for token in shown] == [(0.0, 14.0), (0.0, 13.0), (0.0, 12.0)]
    assert "secret" not in repr(shown)
    assert len({token.fingerprint for token in book.newest(0.0, 10)}) == 5
    book.issue("a-token-of-at-least-20-characters", "access", lifetime=99, now=0.0)
    assert book.newest(10.0, 1)[0].fingerprint == Token("a-token-of-at-least-20-characters").fingerprint  # as in logs
    book.revoke_one(book.newest(10.0, 1)[0].fingerprint)
    assert book.revoke_one(shown[0].fingerprint) == 1
    assert book.revoke_one(shown[0].fingerprint) == 0
    assert [token.dies_at for token in book.newest(10.0, 3)] == [13.0, 12.0, 11.0]
    assert Ledger().newest(0.0, 3) == []


def test_the_log_knows_what_is_new() -> None:
    """The log is bounded and tells what came after a number of requests, as far as it still has them."""
    log = RequestLog(3)
    records = [Record(float(n), "peakly", "api", "GET", "/", 200, None, 0.0) for n in range(5)]
    for record in records:
        log.append(record)
    assert (log.total, list(log)) == (5, records[2:])
    assert log.since(5) == []
    assert log.since(4) == records[4:]
    assert log.since(2) == records[2:]
    assert log.since(0) == records[2:]
    log.clear()
    assert (log.total, log.cleared, log.since(0)) == (5, 1, [])


def test_events_are_json_that_browsers_read() -> None:
    """NaN and objects of Python callers are told as text: JSON has no word for them. A line end can't break out."""
    text = _event(
        "state", {"nan": math.nan, "list": [math.inf, (1,)], "own": object(), "line": "a\n\ndata: b\u2028"}, "1"
    )
    assert text.startswith("id: 1\nevent: state\ndata: {")
    assert text.count("\n") == 4
    data = json.loads(text.partition("data: ")[2])
    assert data == {"nan": "nan", "list": ["inf", [1]], "own": "object", "line": "a\n\ndata: b\u2028"}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_which_hosts_are_this_machine(host: str) -> None:
    """A sandbox listens there without anybody's permission."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", "localhost.example.com", ""])  # noqa: S104
def test_which_hosts_are_not(host: str) -> None:
    """Other machines reach it there, or a name may lead anywhere."""
    assert not is_loopback(host)
