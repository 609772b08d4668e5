"""Whether Python and the packages are there, in versions that work together."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from typing import TYPE_CHECKING

from asyncauth.cli.doctor.finding import Finding, fail, ok, skip

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["judge", "packages"]

_REQUIREMENT = re.compile(
    r"""([\w.-]+)\s*(?:\[[^\]]*\])?\s*\(?(?:>=\s*([\d.]+))?[^;]*(?:;.*\bextra\s*==\s*['"]([\w-]+)['"])?"""
)


def packages() -> list[Finding]:
    """Return a finding for Python and asyncauth, and one for each package that asyncauth can use."""
    own = importlib.metadata.version("asyncauth")
    found = [ok("python", f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}")]
    found.append(ok("asyncauth", own))
    return found + judge(importlib.metadata.requires("asyncauth") or ())


def judge(requirements: Iterable[str]) -> list[Finding]:
    """Return a finding for each package; one that several extras need counts for the first of them.

    Args:
        requirements: As a package's metadata has them: ``redis>=5.0.1; extra == 'redis'``.
    """
    found: list[Finding] = []
    seen: set[str] = set()
    for text in requirements:
        match = _REQUIREMENT.match(text)
        if match is None:
            continue
        name, least, extra = match[1], match[2], match[3]
        if name in seen:
            continue
        seen.add(name)
        how = "pip install asyncauth" if extra is None else f"pip install 'asyncauth[{extra}]'"
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing = f"{name} is not installed"
            found.append(
                fail("asyncauth", missing, how) if extra is None else skip(f"extra {extra}", f"{missing}: {how}")
            )
            continue
        subject = name if extra is None else f"extra {extra}"
        if least is not None and _numbers(version) < _numbers(least):
            found.append(fail(subject, f"{name} {version} is too old: {least} or newer is needed", f"{how} --upgrade"))
        else:
            found.append(ok(subject, f"{name} {version}"))
    return found


def _numbers(version: str) -> tuple[int, ...]:
    release = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in release[0].split(".")] if release else []
    while numbers and numbers[-1] == 0:  # 5.0 is 5
        numbers.pop()
    return tuple(numbers)
