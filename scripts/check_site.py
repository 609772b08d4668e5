"""Searches the built pages for what must not be there, and counts it.

In the reference: the code's internals instead of values. In the Spanish pages: words of the theme in English.

Run: make docs
"""

from __future__ import annotations

import html
import re
import sys
from collections import Counter
from pathlib import Path

SITE = Path(__file__).parent.parent / "docs" / "_build" / "html"
INTERNALS = {
    "a default that attrs computes": re.compile(r"attr_dict\[|\bNOTHING\b"),
    "a private name": re.compile(r"(?<!\w)_[A-Za-z]\w*\b(?<!__)"),
    "the docstring of a built-in type": re.compile(r"str\(object=|int\(\[x\]\)|dict\(\) -> "),
    "a reference without a target": re.compile(r"\bSee there\b"),
    "an object's address": re.compile(r" at 0x[0-9a-f]{6,}"),
}

ENGLISH = re.compile(r'[>"]\s*(Next|Previous|Home|Search|On this page|Back to top|Made with|Link to this \w+)\s*[<"]')
"""Words of the theme, as a page's markup has them."""


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


def english_of(page: str) -> Counter[str]:
    """Count the words of the theme that a page has in English."""
    return Counter(f"{word!r} in English" for word in ENGLISH.findall(page))


def main() -> None:
    """Check all pages of the reference, and all Spanish pages."""
    failed = False
    for folder, count in (("reference", internals_of), ("es", english_of)):
        pages = sorted((SITE / folder).glob("*.html"))
        found = {path.name: count(path.read_text(encoding="utf-8")) for path in pages}
        for name, counts in found.items():
            for kind, number in counts.items():
                print(f"{folder}/{name}: {number} times {kind}")
        failed = failed or not pages or any(found.values())
    sys.exit(failed)


if __name__ == "__main__":
    main()
