"""What a run found, as JSON, as a table in Markdown, and as plots."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
from rich.console import Console
from rich.table import Table

from benchmarks.kit import RESULTS
from benchmarks.run import Goal, Run

OURS = "asyncauth"
NOT_MEASURED = (
    "–: not measured. The peers' one stampede is that of 1,000 callers whose token has expired; and a story leaves out"
    " who can't be in it: who has a token before anybody asks, asks for one in a call that stops the event loop, or"
    " does not renew for that reason.\n"
)


def quick(run: Run, console: Console) -> int:
    """Show the counts; return how many are not what they must be."""
    counted = [goal for goal in run.goals if goal.counts]
    show(run, console)
    missed = [goal for goal in counted if not goal.reached]
    for goal in missed:
        console.print(f"[red]{goal.what}: {goal.value} (at most {goal.limit:g})")
    return len(missed) + run.failed


def show(run: Run, console: Console) -> None:
    """Print the goals."""
    table = Table("goal", "limit", "reached", "", "note")
    for goal in run.goals:
        table.add_row(goal.what.replace("[", r"\["), _limit(goal), _value(goal), "" if goal.reached else "✗", goal.note)
    console.print(table)
    for name, why in run.missing.items():
        console.print(f"left out: {name}: {why}")


def write(run: Run, about: dict[str, Any], *, partial: bool) -> None:
    """Write everything into results/; of a run of some stories, nothing."""
    if partial:
        return
    RESULTS.mkdir(exist_ok=True)
    told: dict[str, Any] = {
        "about": about,
        "goals": [attrs.asdict(goal) | {"reached": goal.reached} for goal in run.goals],
        "left out": run.missing,
        "figures": run.figures,
    }
    (RESULTS / "results.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (RESULTS / "table.md").write_text(_page(told, run.goals), encoding="utf-8")
    from benchmarks import plots  # noqa: PLC0415

    plots.draw(told["figures"])
    if run.figures.keys() >= {"hot path", "request", "turn-over", "leaders cancelled", "wrong password"}:
        (RESULTS / "headline.md").write_text(_headline(run.figures), encoding="utf-8")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"  # noqa: PLR2004


def _limit(goal: Goal) -> str:
    share = goal.unit == "×" and goal.limit < 0.5  # noqa: PLR2004
    limit = f"{goal.limit:.0%}" if share else f"{_number(goal.limit)} {goal.unit}"
    return f"≥ {limit}" if goal.at_least else limit


def _value(goal: Goal) -> str:
    if goal.value is None:
        return "not measured"
    if goal.unit == "×":
        return f"{goal.value:.1%}" if goal.limit < 0.5 else f"{goal.value:.2f} ×"  # noqa: PLR2004
    return f"{_number(goal.value)} {goal.unit}"


def _rows(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def _page(told: dict[str, Any], goals: list[Goal]) -> str:
    about, figures = told["about"], told["figures"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    how = (
        f"By `make bench` on {about['at']}: Python {about['python']}, {about['machine']}, load average"
        f" {about['load'][0]} before and {about['load after'][0]} after. Loopback; client and server on a core each;"
        " variants in random order, in turns; medians; cost is the client's CPU time."
        " What a token adds is what a request takes beyond one without a token through the same client: aiohttp's"
        " session, azure-core's pipeline, google-auth's session or httpx."
        " Where a peer's margin before expiry is longer than the tokens' life, it was taken away. google-auth's own"
        " credentials ask for tokens in a thread.\n"
    )
    parts = [
        "# Measured\n",
        how,
        f"{versions}.\n",
        "## Goals\n",
        _rows(
            ("goal", "at most", "reached", "", "note"),
            [
                (goal.what, _limit(goal), _value(goal), "" if goal.reached else "**missed**", goal.note)
                for goal in goals
            ],
        ),
    ]
    if told["left out"]:
        left_out = [(name, why) for name, why in told["left out"].items()]
        parts += ["## Left out\n", _rows(("what", "why"), left_out)]
    sections: list[tuple[str, str, Callable[[Any], str]]] = [
        ("The header from a cached token", "hot path", _hot_path),
        ("What is added to a whole request, µs of the client's CPU", "request", _requests),
        ("A token request, µs of the client's CPU", "token request µs", _token_requests),
        ("Tokens of 2 s from an endpoint of 300 ms, 250 requests a second", "turn-over", _turnover),
        ("Tokens of 2 s, 1,000 requests a second", "turn-over, 1,000 a second", _steady),
        ("What is added to a whole request of httpx, µs of the client's CPU", "httpx", _requests),
        ("A fleet that needs a token at the same moment", "fleet", _fleet),
        ("Memory of a manager with its token, with its provider", "memory B", _memory),
        ("Seconds to a token while the API's connections are busy", "busy API s", _busy),
    ]
    for title, story, table in sections:
        if story in figures:
            parts += [f"## {title}\n", table(figures[story])]
    parts += ["## Token requests\n", _counts(figures)]
    return "\n".join(parts)


def _headline(figures: dict[str, Any]) -> str:
    """Return README's table. A test compares the two."""
    names = (OURS, "aiohttp's cookbook", "aiohttp-oauth2-client", "azure-core's policy", "google-auth", "Authlib")
    calls, request, turns = figures["hot path"], figures["request"]["asyncio, 50 at a time"], figures["turn-over"]
    leaders, password = figures["leaders cancelled"], figures["wrong password"]

    def row(title: str, value: Callable[[str], float], unit: str) -> tuple[str, ...]:
        """Give ours with its unit, and the others as multiples of it; shares and counts as they are."""
        ours = value(OURS)

        def cell(name: str) -> str:
            try:
                theirs = value(name)
            except KeyError:
                return "–"
            if name == OURS or not unit.strip("%"):
                return f"{theirs:.0%}".replace("%", " %") if unit else f"{theirs:,.0f}"
            ratio = theirs / ours
            return f"{ratio:,.0f} ×" if ratio >= 10 else f"{ratio:.1f} ×"  # noqa: PLR2004

        first = f"{_number(ours)} {unit}" if unit.strip("%") else cell(OURS)
        return title, first, *(cell(name) for name in names[1:])

    def on_headers(name: str) -> float:
        return float(calls.get(f"{name}: its middleware, without the request") or calls[name])

    rows = [
        row("putting a cached token on a request's headers", on_headers, "ns"),
        row("CPU time added to each request, 50 at a time", lambda name: request["added µs"][name], "µs"),
        row("p99 of requests while tokens are renewed every 2 s", lambda name: turns[name]["token"]["p99 ms"], "ms"),
        row("requests slower than 50 ms meanwhile", lambda name: turns[name]["token"]["over 50 ms"], "%"),
        row(
            "token requests for 25 callers, the first five cancelled one after another",
            lambda name: leaders[name]["5 cancelled"]["token requests"],
            "",
        ),
        row("tries of a wrong password, 60 callers", lambda name: password[name]["token requests"], ""),
    ]
    return _rows(("", *names), rows)


def _with_error(value: float, error: float) -> str:
    return f"{value:.1f} ± {error:.1f}" if value > error else f"lost in ± {error:.0f}"


def _sorted(figures: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(figures.items(), key=lambda each: each[1])


def _fleet(figures: dict[str, dict[str, Any]]) -> str:
    rows = [(name, *(_number(value) for value in told.values())) for name, told in figures.items()]
    return _rows(("", "processes", "token requests", "s"), rows)


def _memory(figures: dict[str, float]) -> str:
    return _rows(("", "bytes"), [(name, f"{value:,.0f}") for name, value in _sorted(figures)])


def _busy(figures: dict[str, float]) -> str:
    return _rows(("", "s"), [(name, f"{value:.3f}") for name, value in figures.items()])


def _hot_path(figures: dict[str, float]) -> str:
    floor = figures["floor"]
    rows = [(name, f"{value:,.0f}", f"{value / floor:,.2f}") for name, value in _sorted(figures)]
    return _rows(("", "ns", "× floor"), rows)


def _token_requests(figures: dict[str, float]) -> str:
    plain = figures["a plain request"]
    rows = [(name, f"{value:,.0f}", f"{value / plain:,.2f}") for name, value in _sorted(figures)]
    return _rows(("", "µs", "× plain"), rows)


def _requests(figures: dict[str, Any]) -> str:
    names = [name for name, _ in _sorted(next(iter(figures.values()))["added µs"])]

    def cell(told: dict[str, dict[str, float]], name: str) -> str:
        added, error = told["added µs"], told["error µs"]
        return _with_error(added[name], error[name]) if name in added else "–"

    rows = [(name, *(cell(told, name) for told in figures.values())) for name in names]
    bare = "bare" if "bare" in next(iter(figures.values()))["whole µs"] else "httpx, bare"
    whole = [("the bare request itself", *(f"{told['whole µs'][bare]:.0f}" for told in figures.values()))]
    return _rows(("", *figures), [*rows, *whole])


def _turnover(figures: dict[str, Any]) -> str:
    rows = []
    for name, told in figures.items():
        token = told["token"]
        latencies = [f"{token[key]:,.1f}" for key in ("p50 ms", "p99 ms", "p99.9 ms", "max ms")]
        rows.append((name, *latencies, f"{token['over 50 ms']:.1%}", str(told["failed"])))
    return _rows(("", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "over 50 ms", "failed"), rows)


def _steady(figures: dict[str, dict[str, int]]) -> str:
    rows = [(name, *(f"{value:,}" for value in told.values())) for name, told in figures.items()]
    return _rows(("", "requests", "reached a second", "failed", "waited", "token requests"), rows)


def _counts(figures: dict[str, Any]) -> str:
    stories: dict[str, dict[str, str]] = {}

    def put(name: str, story: str, text: str) -> None:
        stories.setdefault(story, {})[name] = text

    for name, told in figures.get("stampede", {}).items():
        for story, each in told.items():
            put(name, f"{story}, 300 ms", f"{each['token requests']} ({each['wall s']:.2f} s)")
    for name, told in figures.get("leaders cancelled", {}).items():
        for story, each in told.items():
            put(name, f"{story}, 120 ms", f"{each['token requests']} ({each['wall s']:.2f} s)")
    for name, each in figures.get("failing endpoint", {}).items():
        who = OURS if name.startswith(OURS) else name
        story = f"endpoint answers 503, {each['callers']} callers"
        put(who, story, f"{each['token requests']} ({each['wall s']:.1f} s)")
    for name, each in figures.get("wrong password", {}).items():
        put(name, "wrong password, 60 callers", str(each["token requests"]))
    for name, told in figures.get("revocation", {}).items():
        for story, each in told.items():
            good = f"{each['answered 200']} of {each['requests']} answered 200"
            put(name, f"refused {story}", f"{each['token requests']} ({each['401s']} × 401, {good})")
    names = list(dict.fromkeys(name for told in stories.values() for name in told))
    rows = [(story, *(told.get(name, "–") for name in names)) for story, told in stories.items()]
    return _rows(("", *names), rows) + "\n" + NOT_MEASURED
