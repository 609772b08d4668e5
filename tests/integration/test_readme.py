"""What README.md shows is true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import attrs

from asyncauth import RefreshPolicy

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def test_the_first_example_prints_what_the_readme_says() -> None:
    """The example of the first screen runs as printed, and its output is the one shown."""
    (_, code), (_, output) = BLOCKS[:2]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == (output, "", 0)


def test_every_python_block_runs() -> None:
    """Each Python block imports what there is, and defines what it shows."""
    for language, code in BLOCKS:
        if language == "python":
            exec(compile(code.replace("asyncio.run(main())", ""), "README.md", "exec"), {"__name__": "readme"})  # noqa: S102


def test_the_table_of_settings_is_the_policy() -> None:
    """README names every setting with its default."""
    rows = re.findall(r"^\| (`[^|]+`) \| ([\d., ]+) \|", README, flags=re.MULTILINE)
    shown = {
        name: float(value)
        for names, values in rows
        for name, value in zip(re.findall(r"`(\w+)`", names), values.split(","), strict=True)
    }
    assert shown == {field.name: field.default for field in attrs.fields(RefreshPolicy)}
