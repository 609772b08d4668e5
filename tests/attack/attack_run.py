"""`make attack`: every class of attack, how often it was tried, and how often the promise held."""

from __future__ import annotations

import argparse
import logging
import random
import re
import sys
import warnings
from pathlib import Path

# Each adds its classes to ATTACKS.
import attack_answers  # noqa: F401
import attack_httpx  # noqa: F401
import attack_lives  # noqa: F401
import attack_places  # noqa: F401
import attack_processes  # noqa: F401
import attack_secrets  # noqa: F401
import attack_stores  # noqa: F401
import attack_tools  # noqa: F401
from attack_kit import ATTACKS, Outcome, attempted

SCALE = 20
SECONDS = 90.0
SECURITY = Path(__file__).parents[2] / "SECURITY.md"


_TABLE = re.compile(r"^\| attack \| tried \| held \|\n(?:\|.*\n?)+?(?=\n|\Z)", re.MULTILINE)


def table(outcomes: list[Outcome]) -> str:
    """Return the outcomes as a table in Markdown, as SECURITY.md has it."""
    total = Outcome("**all**", sum(each.tried for each in outcomes), [line for each in outcomes for line in each.broke])
    rows = [f"| {each.name} | {each.tried:,} | {each.held:,} |" for each in (*outcomes, total)]
    return "\n".join(["| attack | tried | held |", "|---|--:|--:|", *rows])


def main() -> int:
    """Run the attacks, print the table, and say with the exit code whether all promises held."""
    parser = argparse.ArgumentParser(description="Attack asyncauth, on this machine alone.")
    parser.add_argument("--scale", type=int, default=SCALE, help=f"times the short form's tries (default: {SCALE})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"for one class at most (default: {SECONDS:g})")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--write", action="store_true", help="put the table into SECURITY.md")
    parser.add_argument("--only", default="", metavar="WORDS", help="the classes with these words in their name")
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # pytest makes them errors; here they would only hide the table
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    logging.getLogger("asyncauth").addHandler(logging.NullHandler())
    logging.getLogger("asyncauth").propagate = False
    sys.stdout.write(f"seed {given.seed}\n")
    outcomes = []
    for each in ATTACKS:
        if given.only in each.name:
            outcome = attempted(each, scale=given.scale, seconds=given.seconds, luck=given.seed)
            outcomes.append(outcome)
            sys.stdout.write(f"{outcome.seconds:5.1f} s  {outcome.name}: {outcome.held} of {outcome.tried} held\n")
            for line in outcome.shown:
                sys.stdout.write(f"    broke: {line}\n")
            sys.stdout.flush()
    sys.stdout.write(f"\n{table(outcomes)}\n")
    if given.write:
        written = SECURITY.read_text(encoding="utf-8")
        SECURITY.write_text(_TABLE.sub(lambda _: table(outcomes), written, count=1), encoding="utf-8")
    return 0 if outcomes and not any(each.broke for each in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
