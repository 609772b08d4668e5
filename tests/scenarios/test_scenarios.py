"""Every scenario of this folder against asyncauth's manager, and against managers that must not pass."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import re
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from scenario_broken import (
    Clinging,
    Coarse,
    Common,
    FailOpen,
    Following,
    Forgiving,
    Hasty,
    Insisting,
    Lockless,
    Naive,
    Offended,
    Once,
    Patient,
    Queueing,
    Schooled,
    Sharing,
    Standing,
)
from scenario_expect import Crash, Mismatch
from scenario_runner import run
from scenario_subject import Maker, Managed

from asyncauth import AuthError

HERE = Path(__file__).parent
SCHEMA: dict[str, Any] = json.loads((HERE / "scenario.schema.json").read_text(encoding="utf-8"))
FILES: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(HERE.glob("*.json"))
    if path.name != "scenario.schema.json"
}
SCENARIOS: dict[str, dict[str, Any]] = {
    scenario["name"]: scenario for file in FILES.values() for scenario in file["scenarios"]
}

CAUGHT: list[tuple[str, Maker, str, str]] = [
    ("many-callers-many-requests", Lockless, "flight: fifty callers, one request", "step 1 (get): get[1] is 'token-1'"),
    ("outage-serialized", Queueing, "flight: fifty callers, one outage", "step 3 (advance): get[1] is 'waiting'"),
    (
        "first-caller-cancelled",
        Naive,
        "flight: the first caller is cancelled",
        "step 3 (cancel): second[0] is 'token-1'",
    ),
    (
        "first-caller-cancelled",
        Naive,
        "flight: a rotated refresh token survives cancellation",
        "step 5 (get): later[0] is 'token-1'",
    ),
    ("buffer-exceeds-lifetime", Naive, "windows: a lifetime of four minutes", "step 1 (get): get[1] is 'token-2'"),
    (
        "failed-early-renewal-raises",
        Naive,
        "stale: an expired token is never handed out",
        "step 1 (get): get[0] is {'error': 'unavailable'",
    ),
    (
        "expired-token-after-failed-renewal",
        Clinging,
        "stale: an expired token is never handed out",
        "step 4 (advance): late[0] is 'token-0'",
    ),
    ("late-401-drops-new-token", Naive, "refusals: a late one for an old token", "step 7 (get): later[0] is 'token-2'"),
    ("every-401-renews", Naive, "refusals: one revocation, one request", "step 8 (get): third[0] is 'token-2'"),
    ("empty-body-on-retry", Naive, "requests: a stream is not repeated", "step 1 (request): request[0].status is 200"),
    (
        "first-401-not-released",
        Naive,
        "requests: the first answer is let go of",
        "step 2 (request): request[0].status is None",
    ),
    (
        "token-follows-redirect",
        Naive,
        "requests: a redirect to another host",
        "step 1 (request): api[1].token is 'token-0'",
    ),
    (
        "token-request-follows-redirect",
        Following,
        "requests: the token request never follows",
        "step 1 (get): get[0] is 'stolen'",
    ),
    ("request-without-token", FailOpen, "requests: no token, no request", "step 1 (request): request[0].error is None"),
    ("unreadable-lifetime-means-forever", Forgiving, "answers: expires_in 0", "step 1 (get): get[0] is 'token-1'"),
    ("unreadable-lifetime-means-forever", Forgiving, 'answers: expires_in "abc"', "step 1 (get): get[0] is 'token-1'"),
    (
        "optional-field-costs-the-token",
        Insisting,
        'answers: refresh_token ""',
        "step 1 (get): get[0] is {'error': 'invalid answer'",
    ),
    ("wall-clock-set-back", Naive, "clocks: set back an hour", "step 3 (get): get[0] is 'token-0'"),
    ("suspend", Standing, "background: renewed within a minute of waking", "step 3 (advance): asked is 0"),
    (
        "bound-to-another-loop",
        Naive,
        "loops: two at once, one flight",
        "step 2 (get): there[0] is {'error': 'RuntimeError'",
    ),
    ("token-in-repr", Naive, "requests: an error shows no token", "step 1 (request): a secret is shown"),
    (
        "forbidden-costs-logins",
        Naive,
        "requests: a 401 that another token would not fix",
        "step 1 (request): request[0].status is 200",
    ),
    ("wrong-password-repeated", Naive, "credentials: a cold start is protected as well", "step 3 (get): asked is 2"),
    ("flight-keyed-too-coarsely", Common, "flight: two accounts, two flights", "step 2 (get): asked is 1"),
    (
        "stale-refresh-token-behind-lock",
        Hasty,
        "fleet: the refresh token under the lock",
        "step 5 (advance): sent[1] is 'refresh-0'",
    ),
    (
        "two-loops-two-flights",
        Lockless,
        "loops: two at once, one refresh token",
        "step 2 (get): 2 token requests at the same time",
    ),
    ("one-forbidden-resource", Naive, "refusals: one forbidden resource", "step 6 (get): a2[0] is 'token-2'"),
    (
        "foreign-challenge-ignored",
        Schooled,
        "requests: a foreign challenge",
        "step 2 (request): request[0].status is 401",
    ),
    (
        "new-token-not-known-yet",
        Naive,
        "unproven: the old token serves meanwhile",
        "step 2 (request): api[1].token is 'token-2'",
    ),
    (
        "refused-with-another-status",
        Naive,
        "requests: a token that is refused with 403",
        "step 2 (request): request[0].status is 403",
    ),
    ("store-key-too-coarse", Coarse, "fleet: another system", "step 2 (get): two[0] is 'token-1'"),
    ("shared-cookies", Sharing, "requests: no cookies between tenants", "step 3 (refresh): cookies is 1"),
    ("recovery-takes-as-long-as-the-outage", Patient, "failures: while callers wait", "step 2 (advance): asked is 2"),
    ("same-token-again", Naive, "windows: the same token again", "step 2 (get): again[0] is 'token-2'"),
    (
        "firewall-taken-for-rejection",
        Offended,
        "failures: a firewall in between",
        "step 1 (get): get[0].error is 'refused'",
    ),
    (
        "secret-rotated-a-moment-late",
        Once,
        "credentials: a callable whose password was replaced a moment ago",
        "step 3 (advance): get[0] is {",
    ),
]
"""Each known bug, a manager that has it, a scenario that this manager must fail, and where and how it does."""


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.leaves_tasks(reason="a loop ends while a token is on its way")
def test_scenario(name: str) -> None:
    """What the scenario promises."""
    run(SCENARIOS[name], Managed)


@pytest.mark.parametrize("file", FILES)
def test_every_file_is_valid(file: str) -> None:
    """A scenario holds nothing that the schema does not know, so no expectation is silently left out."""
    errors = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(SCHEMA).iter_errors(FILES[file])]
    assert not errors


def test_the_schema_refuses_what_it_does_not_know() -> None:
    """An unknown step, member or expectation is an error. So are a missing expectation and a request without a wire."""
    Draft202012Validator.check_schema(SCHEMA)
    valid = {"name": "x", "promise": "x", "given": {}, "steps": [{"do": "get", "then": {"asked": 1}}]}
    for path, member, value in (
        ((), "novel", 1),
        (("given",), "novel", 1),
        (("steps", 0), "do", "dance"),
        (("steps", 0), "novel", 1),
        (("steps", 0, "then"), "novel", 1),
        ((), "steps", [{"do": "get"}]),
        ((), "steps", [{"do": "request", "then": {"asked": 1}}]),
        (("steps", 0, "then"), "results", {"get": "never"}),
    ):
        scenario: Any = copy.deepcopy(valid)
        assert Draft202012Validator(SCHEMA).is_valid({"about": "x", "scenarios": [scenario]})
        place = scenario
        for part in path:
            place = place[part]
        place[member] = value
        assert not Draft202012Validator(SCHEMA).is_valid({"about": "x", "scenarios": [scenario]}), (path, member)


def test_nothing_is_left_out() -> None:
    """There are enough scenarios, no two of one name, and each point of the contract and each known bug is in one."""
    names = Counter(scenario["name"] for file in FILES.values() for scenario in file["scenarios"])
    assert len(names) >= 60
    assert names.most_common(1)[0][1] == 1
    named = {
        member: {each for scenario in SCENARIOS.values() for each in scenario.get(member, ())}
        for member in ("contract", "fleet", "bugs")
    }
    assert named["contract"] == set(range(1, 13))
    assert named["fleet"] == set(SCHEMA["$defs"]["scenario"]["properties"]["fleet"]["items"]["enum"])
    assert named["bugs"] == set(SCHEMA["$defs"]["bug"]["enum"])
    assert all(any(member in scenario for member in named) for scenario in SCENARIOS.values())


def test_every_known_bug_has_a_manager_that_has_it() -> None:
    """For each known bug it is shown below that one of its scenarios catches it."""
    assert {bug for bug, *_ in CAUGHT} == set(SCHEMA["$defs"]["bug"]["enum"])
    assert all(bug in SCENARIOS[name]["bugs"] for bug, _, name, _ in CAUGHT)


@pytest.mark.parametrize(
    ("make", "name", "words"), [row[1:] for row in CAUGHT], ids=[f"{bug}: {name}" for bug, _, name, _ in CAUGHT]
)
def test_a_manager_with_a_known_bug_fails(monkeypatch: pytest.MonkeyPatch, make: Maker, name: str, words: str) -> None:
    """A manager with this bug does not pass, and for this bug: it fails at the step where that shows."""
    if words.endswith("request[0].status is None"):  # it waits for ever for a connection, and fails either way
        monkeypatch.setattr("scenario_wire.PATIENCE", 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # connections that it never released
        with pytest.raises(Mismatch, match=re.escape(words)):
            run(SCENARIOS[name], make)
        if name.startswith("requests: "):
            gc.collect()


def test_a_naive_manager_passes_what_it_keeps() -> None:
    """A manager may fail some scenarios and pass others: they do not depend on one another."""
    for name in ("fresh: handed out at once", "flight: fifty callers, one request", "spent: none yet"):
        run(SCENARIOS[name], Naive)


def _altered(value: Any) -> Any:
    """Return another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [*value, "one more"]
    if isinstance(value, dict):
        return {**value, "status": 599}
    return None if isinstance(value, str) else "something"


def _expectations() -> Iterator[tuple[str, str, list[Any]]]:
    """Yield each kind of expectation, with a scenario that has it and the way to it there."""
    known = set()
    for name, scenario in SCENARIOS.items():
        for number, step in enumerate(scenario["steps"]):
            for member, value in step.get("then", {}).items():
                leaves = list(value) if isinstance(value, dict) else [None]
                for leaf in leaves:
                    kind = f"{member} {type(value[leaf]).__name__}" if member == "results" else f"{member} {leaf}"
                    if kind not in known:
                        known.add(kind)
                        yield kind, name, ["steps", number, "then", member, *([] if leaf is None else [leaf])]


EXPECTATIONS = {kind: (name, way) for kind, name, way in _expectations()}


@pytest.mark.parametrize("kind", EXPECTATIONS)
def test_a_wrong_expectation_is_noticed(kind: str) -> None:
    """Every kind of expectation is compared: a scenario in which one is altered fails at its very step."""
    name, way = EXPECTATIONS[kind]
    scenario = copy.deepcopy(SCENARIOS[name])
    place: Any = scenario
    for part in way[:-1]:
        place = place[part]
    place[way[-1]] = _altered(place[way[-1]])
    with pytest.raises(Mismatch, match=rf"step {way[1] + 1} "):
        run(scenario, Managed)


class _Telling(Managed):
    def shown(self) -> str:
        return "the password is s3cret-1"


class _OneError(Managed):
    _error: BaseException | None = None

    async def get(self) -> str:
        try:
            return await super().get()
        except AuthError as error:
            self._error = self._error or error
            raise self._error from None


class _Littering(Managed):
    async def get(self) -> str:
        self._left = asyncio.ensure_future(asyncio.Event().wait())
        return await super().get()


class _Deaf(Managed):
    async def get(self) -> str:
        try:
            return await super().get()
        except AuthError:
            return await asyncio.Event().wait() and ""


class _Eager(Managed):
    async def get(self) -> str:
        first, _ = await asyncio.gather(super().get(), self._provider.fetch(None, None))
        return first

    def __init__(self, provider: Any, **options: Any) -> None:
        self._provider = provider
        super().__init__(provider, **options)


@pytest.mark.parametrize(
    ("make", "name", "words"),
    [
        (_Telling, "fresh: handed out at once", "secret"),
        (_OneError, "failures: throttled beyond the deadline", "share one error"),
        (_Littering, "fresh: handed out at once", "left behind"),
        (_Deaf, "stale: an expired token is never handed out", "waiting"),
        (_Eager, "clocks: a lifetime counts from the request", "at the same time"),
    ],
)
@pytest.mark.leaves_tasks(reason="a loop ends while a token is on its way")
def test_what_holds_always_is_looked_at(make: Maker, name: str, words: str) -> None:
    """Secrets that are shown, errors that are shared, tasks and callers left behind: each fails any scenario."""
    with pytest.raises(Mismatch, match=words):
        run(SCENARIOS[name], make)


def test_a_token_that_has_ended_is_noticed() -> None:
    """A caller who is given a token after its end fails any scenario, whatever that says of results."""
    down = {"rest": {"kind": "unavailable"}}
    steps = [{"do": "get"}, {"do": "advance", "seconds": 60}]
    with pytest.raises(Mismatch, match="which had ended"):
        run({"name": "x", "given": {"cached": "spent", "endpoint": down}, "steps": steps}, Clinging)


def test_who_has_ended_cannot_leave() -> None:
    """A step that cancels nothing is a mistake in the scenario, and fails it."""
    steps = [{"do": "get"}, {"do": "cancel", "caller": "get"}]
    with pytest.raises(Mismatch, match="get has ended"):
        run({"name": "x", "given": {"cached": "fresh"}, "steps": steps}, Managed)


class _Terse(Managed):
    def status(self) -> dict[str, Any]:
        return {"state": super().status()["state"]}


def test_what_a_manager_cannot_tell_is_left_out() -> None:
    """Of its status only what it tells is compared, and that is."""
    scenario = copy.deepcopy(SCENARIOS["stale: nearly spent"])
    run(scenario, _Terse)
    scenario["steps"][0]["then"]["status"]["state"] = "fresh"
    with pytest.raises(Mismatch, match=r"status\.state"):
        run(scenario, _Terse)


def test_the_way_that_the_readme_shows() -> None:
    """The example runs as it stands, outside of pytest, and asyncauth's own manager passes (one file of them, here)."""
    (example,) = re.findall(r"```python\n(.*?)```", (HERE / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert "*.json" in example
    done = subprocess.run(
        [sys.executable, "-c", example.replace("*.json", "failures.json")],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    number = len(json.loads((HERE / "failures.json").read_text(encoding="utf-8"))["scenarios"])
    assert (done.returncode, done.stdout) == (0, f"0 of {number} failed\n"), done.stderr


def test_the_contracts_table_names_scenarios_that_there_are() -> None:
    """Each rule of point 7 in the README names the scenarios that keep it to its value."""
    text = (HERE / "README.md").read_text(encoding="utf-8")
    table = text[text.index("| rule | value | scenario |") : text.index("| `fleet` |")]
    rows = [line.strip("|").split("|") for line in table.strip().splitlines()[2:]]
    named = [name.strip() for row in rows for name in row[-1].split("<br>")]
    assert len(named) >= len(rows) > 10
    assert set(named) <= set(SCENARIOS)


class _Crashing(Managed):
    def status(self) -> dict[str, Any]:
        raise LookupError("no such thing")


class _Unmakable(Managed):
    def __init__(self, provider: Any, **options: Any) -> None:
        raise TypeError("one argument too many")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_Crashing, r"^stale: nearly spent, step 1 \(get\): LookupError: no such thing$"),
        (_Unmakable, r"^stale: nearly spent, before the first step: TypeError: one argument too many$"),
    ],
)
def test_a_manager_that_crashes_is_told_where(make: Maker, words: str) -> None:
    """What no step expects to be raised names its scenario and place, and the others can be run all the same."""
    with pytest.raises(Crash, match=words) as caught:
        run(SCENARIOS["stale: nearly spent"], make)
    assert isinstance(caught.value.__cause__, LookupError | TypeError)
