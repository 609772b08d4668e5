"""README's table of settings is true; test_docs.py runs what it shows."""

from __future__ import annotations

import re
from pathlib import Path

import attrs

from asyncauth import RefreshPolicy

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_table_of_settings_is_the_policy() -> None:
    """README names every setting with its default."""
    rows = re.findall(r"^\| (`[^|]+`) \| ([\d., ]+) \|", README, flags=re.MULTILINE)
    shown = {
        name: float(value)
        for names, values in rows
        for name, value in zip(re.findall(r"`(\w+)`", names), values.split(","), strict=True)
    }
    assert shown == {field.name: field.default for field in attrs.fields(RefreshPolicy)}
