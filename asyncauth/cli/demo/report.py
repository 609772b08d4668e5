"""The demo's result: for people, and as JSON. Durations are seconds."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import attrs

from asyncauth.cli.demo.least import least, paced, spans
from asyncauth.cli.demo.load import quantile
from asyncauth.cli.demo.scene import POLICY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncauth.cli.demo.crew import Crew
    from asyncauth.cli.demo.load import Tally
    from asyncauth.cli.demo.mishaps import Mishap, Mishaps
    from asyncauth.cli.demo.scene import Scene

__all__ = ["Report", "report_on"]

WHY_THEY_WAIT = (
    "a request waits when there is no usable token: after the revocation, and in an outage that lasts until the token"
    " expires (renewal is due when a third of the lifetime is left, or more). It then waits until half a second after"
    " the outage, or a quarter of the outage, whichever is longer"
)
RECKONING = (
    "the minimum is what a client would need that uses each token until it expires, and requests the next one only"
    " then. It includes the tokens after the revocation, but no token requests that failed"
)


_NAMES = 15
"""Of the names' column."""


@attrs.frozen
class TokenRequests:
    """Token requests of one step, made and needed.

    Attributes:
        name: The system's and the step's.
        lifetime: Seconds that its tokens live.
        made: Those the servers counted, failed ones included.
        least: The fewest possible.
        paced: Those of renewing at the policy's share of the life that the server states, and no failures.
    """

    name: str
    lifetime: float
    made: int
    least: int
    paced: int


@attrs.frozen
class Aftermath:
    """What a mishap did to the requests, from its beginning to that of the next.

    Attributes:
        name: The mishap.
        text: What happened.
        at: Seconds from the start.
        seconds: How long it lasted.
        waited: How many requests had to wait for a token.
        slowest: The longest latency; ``None`` = no request was answered.
    """

    name: str
    text: str
    at: float
    seconds: float
    waited: int
    slowest: float | None


@attrs.frozen(kw_only=True)
class Report:
    """How a run went.

    Attributes:
        seconds: From the first request until the last answer.
        rate: Requests a second that were wanted.
        workers: How many processes sent the requests.
        adopted: How many tokens for the APIs they took over from each other.
        interrupted: Whether it was ended by hand.
        requests: How many were sent.
        failed: How many failed.
        reasons: Why, and how often.
        abandoned: How many were under way when the run was ended by hand.
        waited: How many had to wait for a token after each system's first.
        first: Latencies of each system's first request, which waits for the first token; of several processes' the
            longest.
        p50: The median latency of the others, each from when it was due until its answer had been read.
        p99: What 99 % of them did not exceed.
        max: The slowest.
        mishaps: What went wrong on the way.
        token_requests: Step by step.
        without_token: Token requests that brought no token.
    """

    seconds: float
    rate: float
    workers: int
    adopted: int
    interrupted: bool
    requests: int
    failed: int
    reasons: dict[str, int]
    abandoned: int
    waited: int
    first: list[float]
    p50: float | None
    p99: float | None
    max: float | None
    mishaps: list[Aftermath]
    token_requests: list[TokenRequests]
    without_token: int

    @property
    def made(self) -> int:
        """All token requests."""
        return sum(step.made for step in self.token_requests)

    @property
    def least(self) -> int:
        """The fewest possible."""
        return sum(step.least for step in self.token_requests)

    @property
    def paced(self) -> int:
        """Those that the policy asks for."""
        return sum(step.paced for step in self.token_requests)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        facts = attrs.asdict(self)
        latency = {name: facts.pop(name) for name in ("p50", "p99", "max", "first")}
        facts["token_requests"] = {
            "made": self.made,
            "without_token": facts.pop("without_token"),
            "least": self.least,
            "paced": self.paced,
            "steps": facts["token_requests"],
            "reckoning": RECKONING,
        }
        return {"passed": not self.failed, **facts, "latency": latency}

    def lines(self, *, verbose: bool = False) -> list[str]:
        """Return it for people: at most ten lines, the first with requests and failures.

        Args:
            verbose: Whether to add the token requests of each step, and why requests wait.
        """
        reasons = ", ".join(f"{reason}: {times}" for reason, times in sorted(self.reasons.items()))
        facts = [
            ("requests", f"{self.requests}, failed {self.failed}{f' ({reasons})' if reasons else ''}{self._end}"),
            ("latency", f"p50 {_ms(self.p50)}, p99 {_ms(self.p99)}, max {_ms(self.max)}"),
            ("first requests", f"{', '.join(map(_ms, self.first))}: they wait for each system's first token"),
            ("waited", f"{self.waited} later requests had to wait for a token"),
            *(
                (f"  {mishap.name}", f"{mishap.waited} waited, slowest request {_ms(mishap.slowest)}")
                for mishap in self.mishaps
            ),
            ("token requests", f"{self.made}, minimum {self.least}; {self.without_token} brought no token"),
        ]
        if self.workers > 1:
            facts.append(
                ("workers", f"{self.workers} processes, which took {self.adopted} tokens from their shared store")
            )
        lines = [f"{name:<{_NAMES}} {text}" for name, text in facts]
        return [*lines, *self._rest()] if verbose else [*lines, "--verbose explains this, and logs what happens."]

    @property
    def _end(self) -> str:
        """How the run ended, if not by itself."""
        abandoned = f", abandoned {self.abandoned}" if self.abandoned else ""
        return f"{abandoned}; ended by Ctrl-C after {self.seconds:.1f} s" if self.interrupted else abandoned

    def _rest(self) -> list[str]:
        """Return what explains the result."""
        return [
            "",
            f"The requests took {self.seconds:.1f} s.",
            f"Renewing at {POLICY.renew_at:.0%} of the stated lifetime takes {self.paced} token requests.",
            *(f"  {mishap.at:5.1f} s  {mishap.text}" for mishap in self.mishaps),
            *(
                f"  {step.name:<22} {step.made:>3}, minimum {step.least:>2} (lifetime {step.lifetime:g} s)"
                for step in self.token_requests
            ),
            *textwrap.wrap(f"{WHY_THEY_WAIT[0].upper()}{WHY_THEY_WAIT[1:]}.", 100),
            *textwrap.wrap(f"{RECKONING[0].upper()}{RECKONING[1:]}.", 100),
        ]


def report_on(
    scene: Scene,
    crew: Crew,
    mishaps: Mishaps,
    *,
    rate: float,
    started: float,
    ended: float,
    first: list[float],
    waits: tuple[int, int],
    interrupted: bool,
) -> Report:
    """Draw up the report.

    Args:
        scene: With its servers' counts.
        crew: With its tallies.
        mishaps: Those that happened.
        rate: Requests a second that were wanted.
        started: When the first request was sent, in seconds of the loop's clock.
        ended: When the last answer had come.
        first: Latencies of the first requests.
        waits: How many requests had waited for a token after the first ones, and in the end.
        interrupted: Whether it was ended by hand.
    """
    tallies = crew.tallies
    latencies = sorted(latency for tally in tallies for latency in tally.latencies)
    revoked = [mishap.at - started for mishap in mishaps.happened if mishap.name == "revocation"]
    issued = sum(system.counts.tokens_issued for system in scene.sandbox.systems.values())
    steps = _token_requests(scene, spans(ended - started, revoked))
    return Report(
        seconds=ended - started,
        rate=rate,
        workers=crew.workers,
        adopted=sum(status.adoptions for status in crew.statuses()),
        interrupted=interrupted,
        requests=sum(tally.requests for tally in tallies),
        failed=sum(tally.failed for tally in tallies),
        reasons={f"{tally.name}: {reason}": times for tally in tallies for reason, times in tally.reasons.items()},
        abandoned=sum(tally.abandoned for tally in tallies),
        waited=waits[1] - waits[0],
        first=first,
        p50=quantile(latencies, 0.5),
        p99=quantile(latencies, 0.99),
        max=latencies[-1] if latencies else None,
        mishaps=_aftermaths(tallies, mishaps.happened, started=started, ended=ended, waits=waits[1]),
        token_requests=steps,
        without_token=sum(step.made for step in steps) - issued,
    )


def _token_requests(scene: Scene, lengths: Sequence[float]) -> list[TokenRequests]:
    share = POLICY.renew_at
    return [
        TokenRequests(step.name, step.lifetime, step.requested, fewest, usual)
        for chain in scene.steps()
        for step, fewest, usual in zip(
            chain,
            least([step.lifetime for step in chain], lengths),
            paced([step.stated for step in chain], lengths, share),
            strict=True,
        )
    ]


def _aftermaths(
    tallies: Sequence[Tally], happened: Sequence[Mishap], *, started: float, ended: float, waits: int
) -> list[Aftermath]:
    aftermaths: list[Aftermath] = []
    for number, mishap in enumerate(happened):
        after = happened[number + 1] if number + 1 < len(happened) else None
        until, waits_until = (ended, waits) if after is None else (after.at, after.waits_before)
        latencies = [
            latency
            for tally in tallies
            for due, latency in zip(tally.due, tally.latencies, strict=True)
            if mishap.at <= due < until
        ]
        aftermaths.append(
            Aftermath(
                mishap.name,
                mishap.text,
                mishap.at - started,
                mishap.seconds,
                waits_until - mishap.waits_before,
                max(latencies, default=None),
            )
        )
    return aftermaths


def _ms(seconds: float | None) -> str:
    return "none" if seconds is None else f"{seconds * 1000:.1f} ms"
