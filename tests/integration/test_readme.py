"""The page of settings is true, and README is short; test_docs.py runs what they show."""

from __future__ import annotations

import re
from pathlib import Path

import attrs

from asyncauth import RefreshPolicy

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs" / "howto" / "settings.md").read_text(encoding="utf-8")


def test_the_table_of_settings_is_the_policy() -> None:
    """The page names every setting with its default."""
    rows = re.findall(r"^\| (`[^|]+`) \| ([\d., ]+) \|", SETTINGS, flags=re.MULTILINE)
    shown = {
        name: float(value)
        for names, values in rows
        for name, value in zip(re.findall(r"`(\w+)`", names), values.split(","), strict=True)
    }
    assert shown == {field.name: field.default for field in attrs.fields(RefreshPolicy)}


def test_readme_is_short_and_its_links_lead_somewhere() -> None:
    """At most 200 lines; every file that it links to exists."""
    assert len(README.splitlines()) <= 200
    linked = [target.partition("#")[0] for target in re.findall(r"\]\((?!https?://)([^)]+)\)", README)]
    assert len(linked) > 20
    assert [target for target in linked if not (ROOT / target).exists()] == []
