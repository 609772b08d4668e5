"""docs/cli.md shows the command line as it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from asyncauth.cli.app import app
from asyncauth.cli.credentials import VARIABLES
from asyncauth.cli.outcome import ExitCode
from asyncauth.cli.stores import STORE_KEYS_VARIABLE, STORE_VARIABLE

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
GROUP: Any = typer.main.get_command(app)
NAMES: list[str] = GROUP.list_commands(None)
COMMANDS: dict[str, Any] = {"": GROUP, **{name: GROUP.get_command(None, name) for name in NAMES}}
REFRESH = "python scripts/refresh_cli_page.py writes it anew"


def words(text: str) -> str:
    """Return a text without what differs between terminals, and between versions of Click."""
    return re.sub(r"- ", "-", " ".join(text.replace("\b", " ").split()))  # a line may be broken after a hyphen


def shown(name: str) -> str:
    command = " ".join(["asyncauth", *([name] if name else []), "--help"])
    block = re.search(rf"^```console\n\$ {command}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert block is not None, f"docs/cli.md does not show {command}"
    return block[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_is_shown_as_it_is(name: str) -> None:
    """The page has each command's help: its whole text, each option with its own, and no option that is gone."""
    page, command = words(shown(name)), COMMANDS[name]
    assert words(command.help or "") in page, REFRESH
    names = {"--help", "-h"}
    for parameter in command.params:
        names.update(parameter.opts)
        if parameter.param_type_name == "option":
            assert re.search(re.escape(max(parameter.opts, key=len)) + r"\b", page), REFRESH
            assert words(parameter.help or "").removesuffix(".") in page, REFRESH
    listed = re.findall(r"^  (-[\w-]+)(?:, (--[\w-]+))?", shown(name).partition("\nOptions:")[2], re.MULTILINE)
    assert {each for pair in listed for each in pair if each} <= names, REFRESH


def test_every_command_is_in_the_table() -> None:
    """The page's table names every command, and has a section for each."""
    listed = re.findall(r"^\| \[`(\w+)`\]\(#(\w+)\)", PAGE, re.MULTILINE)
    assert {name for name, _ in listed} == {anchor for _, anchor in listed} == set(NAMES)
    assert set(NAMES) <= set(re.findall(r"^## (\w+)$", PAGE, re.MULTILINE))


def test_the_exit_codes_are_those_of_the_code() -> None:
    """The page's table of exit codes, and the help's, have each code once."""
    codes = {int(code) for code in ExitCode}
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)] == sorted(codes)
    assert {int(code) for code in re.findall(r"^  +(\d+)  ", GROUP.help or "", re.MULTILINE)} == codes


def test_every_variable_is_named() -> None:
    """The page names every environment variable that the command line reads."""
    for name in (*(name for names in VARIABLES.values() for name in names), STORE_VARIABLE, STORE_KEYS_VARIABLE):
        assert f"`{name}`" in PAGE
    assert "ASYNCAUTH_KEYRING" in PAGE
