"""Counts where the built reference shows the code's internals instead of values: it must show none.

Run: make docs
"""

from __future__ import annotations

import html
import re
import sys
from collections import Counter
from pathlib import Path

REFERENCE = Path(__file__).parent.parent / "docs" / "_build" / "html" / "reference"
INTERNALS = {
    "a default that attrs computes": re.compile(r"attr_dict\[|\bNOTHING\b"),
    "a private name": re.compile(r"(?<!\w)_[A-Za-z]\w*\b(?<!__)"),
    "the docstring of a built-in type": re.compile(r"str\(object=|int\(\[x\]\)|dict\(\) -> "),
    "a reference without a target": re.compile(r"\bSee there\b"),
    "an object's address": re.compile(r" at 0x[0-9a-f]{6,}"),
}


def text_of(page: str) -> str:
    """Return a page's text, without its navigation."""
    found = re.search(r"<article.*?</article>", page, re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", "", found[0] if found else page)).replace(
        "\N{RIGHT SINGLE QUOTATION MARK}", "'"
    )


def internals_of(page: str) -> Counter[str]:
    """Count the internals that a page shows, by kind."""
    text = text_of(page)
    return Counter({kind: len(found) for kind, pattern in INTERNALS.items() if (found := pattern.findall(text))})


def main() -> None:
    """Check all pages of the reference."""
    pages = sorted(REFERENCE.glob("*.html"))
    found = {path.name: internals_of(path.read_text(encoding="utf-8")) for path in pages}
    for name, counts in found.items():
        for kind, count in counts.items():
            print(f"reference/{name}: {count} times {kind}")
    sys.exit(not pages or any(found.values()))


if __name__ == "__main__":
    main()
