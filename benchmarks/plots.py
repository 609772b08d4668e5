"""The pictures: what a request costs, latency while tokens turn over, token requests in a stampede, memory."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from benchmarks.kit import RESULTS
from benchmarks.turnover import SHOWN

OURS = "asyncauth"
BLUE, GREY = "#1f6feb", "#9aa4b2"
SHORT = ("static header", "aiohttp's cookbook", "azure-core's policy", "Authlib")
"""Beside asyncauth in the short picture of latency, which README and the documentation's first page show."""
INKS = {"light": "#1a1a1a", "dark": "#ececec"}
"""Colours of text that can be read on a page in each scheme."""
TICKS = ("xtick.color", "ytick.color")


def draw(figures: dict[str, Any]) -> None:
    """Draw all of them, each as SVG and PNG."""
    plt.rcParams.update(
        {
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "svg.hashsalt": OURS,
            "axes.titlesize": 10,
        }
    )
    if "turn-over" in figures:
        _latency(figures["turn-over"])
        _latency_in_short(figures["turn-over"])
    if "request" in figures:
        _request(figures["request"])
    if {"leaders cancelled", "failing endpoint", "wrong password"} <= set(figures):
        _stampede(figures["leaders cancelled"], figures["failing endpoint"], figures["wrong password"])
    if "memory B" in figures:
        _memory(figures["memory B"])


def _save(figure: Any, name: str) -> None:
    figure.tight_layout()
    figure.savefig(RESULTS / f"{name}.svg", metadata={"Date": None})
    figure.savefig(RESULTS / f"{name}.png", dpi=110)
    plt.close(figure)


def _latency(figures: dict[str, Any]) -> None:
    """One strip a peer, ours on top: each stall is a peak."""
    names = [OURS, *(name for name in figures if name != OURS)]
    figure, axes = plt.subplots(len(names), 1, figsize=(8, 0.85 * len(names) + 0.9), sharex=True, sharey=True)
    for axis, name in zip(axes, names, strict=True):
        _strip(axis, name, figures[name])
        token = figures[name]["token"]
        failed = figures[name]["failed"]
        text = f"{name}   p99.9 {token['p99.9 ms']:,.0f} ms, {token['over 50 ms']:.0%} of requests over 50 ms"
        text += f", {failed} failed" if failed else ""
        axis.text(0.01, 0.72, text, transform=axis.transAxes, fontweight="bold" if name == OURS else "normal")
    axes[0].set_title("the slowest request in each 20 ms, in ms, while tokens are renewed every 2 s")
    axes[-1].set_xlabel("seconds")
    _save(figure, "latency")


def _strip(axis: Any, name: str, told: dict[str, Any]) -> None:
    """Draw one peer's slowest requests."""
    worst = {float(at): value for at, value in told["worst ms"].items() if 0.5 < float(at) < SHOWN}  # noqa: PLR2004
    color = BLUE if name == OURS else GREY
    axis.fill_between(list(worst), [max(value, 1.0) for value in worst.values()], 1.0, color=color, linewidth=0.4)
    axis.set_yscale("log")
    axis.set_ylim(1, 3000)
    axis.set_yticks([1, 10, 100, 1000])


def _latency_in_short(figures: dict[str, Any]) -> None:
    """Draw five strips, for either scheme and without a background; and in the light one as PNG, for README."""
    names = [OURS, *(name for name in SHORT if name in figures)]
    for scheme, ink in INKS.items():
        with plt.rc_context(dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", *TICKS), ink)):
            figure, axes = plt.subplots(len(names), 1, figsize=(8, 0.8 * len(names) + 0.9), sharex=True, sharey=True)
            for axis, name in zip(axes, names, strict=True):
                _strip(axis, name, figures[name])
                axis.set_yticks([1, 100], ["1 ms", "100 ms"])
                axis.tick_params(axis="y", which="minor", left=False)
                text = f"{name}: {figures[name]['token']['p99 ms']:,.0f} ms at the 99th percentile"
                axis.text(0.01, 0.78, text, transform=axis.transAxes, fontweight="bold" if name == OURS else "normal")
            axes[0].set_title("The slowest request in each 20 ms while tokens are renewed every 2 s")
            axes[-1].set_xlabel("seconds")
            figure.tight_layout()
            figure.savefig(RESULTS / f"latency-{scheme}.svg", metadata={"Date": None}, transparent=True)
            if scheme == "light":
                figure.savefig(RESULTS / "latency-short.png", dpi=110)
            plt.close(figure)


def _bars(axis: Any, values: dict[str, float], form: str) -> None:
    names = sorted(values, key=values.__getitem__, reverse=True)
    colors = [BLUE if name.startswith(OURS) else GREY for name in names]
    axis.barh(names, [values[name] for name in names], color=colors)
    for number, name in enumerate(names):
        axis.text(values[name], number, f" {format(values[name], form)}", va="center")
    axis.margins(x=0.15)


def _request(figures: dict[str, Any]) -> None:
    figure, axis = plt.subplots(figsize=(8, 4))
    setting = "asyncio, 50 at a time"
    told = {name: value for name, value in figures[setting]["added µs"].items() if "again" not in name}
    _bars(axis, told, ".1f")
    axis.set_xscale("symlog", linthresh=10)
    axis.set_title(
        f"µs of CPU added to a request ({setting}; the request itself {figures[setting]['whole µs']['bare']:.0f})"
    )
    _save(figure, "request")


def _stampede(leaders: dict[str, Any], failing: dict[str, Any], wrong: dict[str, Any]) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4))
    story = "5 cancelled"
    _bars(axes[0], {name: told[story]["token requests"] for name, told in leaders.items()}, ".0f")
    axes[0].set_title("token requests: 25 callers,\nthe first five cancelled")
    told = {(OURS if name.startswith(OURS) else name): each["wall s"] for name, each in failing.items()}
    _bars(axes[1], told, ".1f")
    axes[1].set_title("seconds until all know that it fails\n(50 callers; asyncauth: 1,000)")
    _bars(axes[2], {name: each["token requests"] for name, each in wrong.items()}, ".0f")
    axes[2].set_title("tries of a wrong password,\n60 callers")
    _save(figure, "stampede")


def _memory(figures: dict[str, float]) -> None:
    figure, axis = plt.subplots(figsize=(8, 3.2))
    _bars(axis, {name: value / 1024 for name, value in figures.items()}, ",.1f")
    axis.set_xscale("log")
    axis.set_title("KiB a manager with its token")
    _save(figure, "memory")
