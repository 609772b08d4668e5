"""What an attack is: somebody tries something a number of times, and a promise holds each time or does not.

A class of attack is a generator that yields its tries, each a name and a function that raises where the promise is
broken. `attempted` runs them, counts, and goes on after a try that broke through: how many did is the result.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import random
import signal
import time
import types
import urllib.parse
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any, TypeAlias, TypeVar

import attrs
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

_T = TypeVar("_T")

Try: TypeAlias = tuple[str, Callable[[], object]]
Tries: TypeAlias = Callable[[random.Random, int], Iterator[Try]]

LONGEST = 5.0
"""Seconds of CPU that one try may take: more is a way to stop the event loop."""

_IN_TIME = 30.0
_MOST_SHOWN = 3


@attrs.frozen
class Attack:
    """A class of attacks.

    Attributes:
        name: What is tried, in the words of SECURITY.md's table.
        tries: Yields the tries, given a source of chance and how many times as many to make as in the short form.
    """

    name: str
    tries: Tries


@attrs.define
class Outcome:
    """What came of a class of attacks.

    Attributes:
        name: The class's.
        tried: How often.
        broke: The tries that broke a promise, and how.
        seconds: How long it took.
    """

    name: str
    tried: int = 0
    broke: list[str] = attrs.field(factory=list[str])
    seconds: float = 0.0

    @property
    def held(self) -> int:
        """How often the promise held."""
        return self.tried - len(self.broke)

    @property
    def shown(self) -> list[str]:
        """The first tries that broke through."""
        return self.broke[:_MOST_SHOWN]


ATTACKS: list[Attack] = []


def attack(name: str) -> Callable[[Tries], Tries]:
    """Make a generator of tries a class of attacks."""

    def add(tries: Tries) -> Tries:
        ATTACKS.append(Attack(name, tries))
        return tries

    return add


class _TooSlow(BaseException):
    """A try has used up its CPU time. No ``Exception``: nobody is to swallow it."""


@contextlib.contextmanager
def _cpu_limit(seconds: float) -> Generator[None, None, None]:
    """Interrupt what takes too long. CPU time of this process, so that a busy machine breaks nothing."""

    def ring(number: int, frame: types.FrameType | None) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def attempted(what: Attack, *, scale: int, seconds: float, luck: int) -> Outcome:
    """Make a class's tries, and count those that broke through.

    Args:
        what: The class.
        scale: How many times as many tries as in the short form.
        seconds: After how long no further try is begun.
        luck: Seeds what is left to chance.
    """
    outcome, began = Outcome(what.name), time.monotonic()
    with contextlib.closing(what.tries(random.Random(luck), scale)) as tries:  # type: ignore[type-var]  # noqa: S311
        for name, act in tries:
            outcome.tried += 1
            try:
                with _cpu_limit(LONGEST):
                    act()
            except _TooSlow:
                outcome.broke.append(f"{name}: over {LONGEST:g} s of CPU")
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 (whatever it is, the try has shown it)
                said = f"{name}: {type(error).__name__}: {str(error)[:300]}"
                outcome.broke.append(said.encode("ascii", "backslashreplace").decode())
            if time.monotonic() - began > seconds:
                break
    outcome.seconds = time.monotonic() - began
    return outcome


def samples(strategy: st.SearchStrategy[_T], number: int, luck: random.Random) -> list[_T]:
    """Draw examples of a Hypothesis strategy."""
    found: list[_T] = []

    @seed(luck.randrange(2**32))
    @settings(
        max_examples=number,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: _T) -> None:
        found.append(example)

    collect()
    return found


def awaited(work: Coroutine[Any, Any, object]) -> None:
    """Run a try that is asynchronous, on an event loop of its own. One that hangs has broken through."""

    async def in_time() -> None:
        async with asyncio.timeout(_IN_TIME):
            await work

    asyncio.run(in_time())


def readings(text: str) -> Iterator[str]:
    """Yield a text as it is, and as somebody reads it who undoes its escapes."""
    yield text
    yield urllib.parse.unquote(urllib.parse.unquote(text))
    yield html.unescape(text)
    yield "".join(chr(int(part[:4], 16)) + part[4:] if _is_escape(part) else part for part in text.split("\\u"))


def _is_escape(part: str) -> bool:
    return len(part) >= 4 and all(each in "0123456789abcdefABCDEF" for each in part[:4])
