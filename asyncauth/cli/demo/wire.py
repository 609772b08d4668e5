"""What a fleet's processes and the one that commands them tell each other: a line of JSON each time.

The commander says ``Orders``, then ``"first"``, then ``"run"``, perhaps ``"stop"``; the end of its pipe means the end.
A member answers with a ``News`` each time something is done, and several times a second while it sends requests.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from asyncauth.cli.demo.crew import Where
from asyncauth.status import Status

if TYPE_CHECKING:
    from asyncauth.cli.demo.load import Tally

__all__ = ["FIRST", "LONGEST_LINE", "RUN", "STOP", "News", "Orders", "TallyNews"]

FIRST, RUN, STOP = b"first\n", b"run\n", b"stop\n"
LONGEST_LINE = 1 << 24


@attrs.frozen(kw_only=True)
class Orders:
    """What a member needs to begin. It holds a password, so it goes through a pipe and not on a command line."""

    where: Where
    redis_url: str = attrs.field(repr=False)
    rate: float
    seconds: float
    verbose: bool

    def line(self) -> bytes:
        """Return it as it is sent."""
        return json.dumps(attrs.asdict(self)).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Orders:
        """Return what was sent."""
        facts: dict[str, Any] = json.loads(line)
        return cls(where=Where(**facts.pop("where")), **facts)


@attrs.frozen(kw_only=True)
class TallyNews:
    """A tally's counts, and the answers since the last news; see `Tally`."""

    requests: int
    failed: int
    abandoned: int
    reasons: dict[str, int]
    due: list[float]
    latencies: list[float]

    @classmethod
    def of(cls, tally: Tally, since: int) -> TallyNews:
        """Return the news of a tally of which so many answers have been told."""
        return cls(
            requests=tally.requests,
            failed=tally.failed,
            abandoned=tally.abandoned,
            reasons=dict(tally.reasons),
            due=list(tally.due[since:]),
            latencies=list(tally.latencies[since:]),
        )


@attrs.frozen(kw_only=True)
class News:
    """How a member is doing.

    Attributes:
        done: What it has done: ``ready``, ``first``, ``run``; ``""`` = it is at it.
        at: When this was so, in seconds of the monotonic clock that a machine's processes share.
        first: Latencies of the first requests, once they are known.
        tallies: Each system's.
        statuses: Of the managers whose tokens go to an API.
        chain: Of those that Pago Fácil's chain has besides.
    """

    done: str
    at: float
    first: list[float]
    tallies: list[TallyNews]
    statuses: list[Status]
    chain: list[Status]

    def line(self) -> bytes:
        """Return it as it is sent."""
        return json.dumps(attrs.asdict(self)).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> News:
        """Return what was sent."""
        facts: dict[str, Any] = json.loads(line)
        facts["tallies"] = [TallyNews(**each) for each in facts["tallies"]]
        for name in ("statuses", "chain"):
            facts[name] = [Status(**each) for each in facts[name]]
        return cls(**facts)
