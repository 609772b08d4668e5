"""Checks the subjects of commits: at most 72 characters, and a sentence that says what the commit does.

Run: make subjects SINCE=origin/main
"""

from __future__ import annotations

import re
import subprocess
import sys

LONGEST = 72
NOT_A_VERB = re.compile(r"[A-Z]\w*(?:ed|ing)\b")
VERBS = frozenset(
    {"Bring", "Embed", "Exceed", "Feed", "Need", "Proceed", "Seed", "Shed", "Speed", "Spring", "String", "Succeed"}
)
"""Imperatives that look like another form."""


def flaws_of(subject: str) -> list[str]:
    """Return what is wrong with a subject."""
    flaws = []
    if len(subject) > LONGEST:
        flaws.append(f"{len(subject)} characters, and {LONGEST} are enough")
    if re.match(r"[\w ]+: ", subject):
        flaws.append("a topic and a colon: write a sentence, 'Draw the plot as lines'")
    elif not re.match(r"[A-Z]", subject):
        flaws.append("begin with a capital letter")
    elif NOT_A_VERB.match(subject) and subject.split(maxsplit=1)[0] not in VERBS:
        flaws.append("begin with an imperative: 'Add', not 'Added' or 'Adding'")
    if subject.endswith("."):
        flaws.append("no full stop at the end")
    return flaws


def main(since: str) -> None:
    """Check the commits since a revision; end with 1 if one has a flaw."""
    git = ["git", "log", "--no-merges", "--format=%h %s", f"{since}..HEAD"]
    lines = subprocess.run(git, capture_output=True, text=True, check=True).stdout.splitlines()
    found = [
        (name, subject, flaw)
        for name, _, subject in (line.partition(" ") for line in lines)
        for flaw in flaws_of(subject)
    ]
    for name, subject, flaw in found:
        print(f"{name} {subject!r}: {flaw}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main(sys.argv[1])
