"""Regular expressions that are compiled when they are first used: ``import asyncauth`` compiles none."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["pattern"]


def pattern(text: str, flags: int = 0) -> Callable[[], re.Pattern[str]]:
    """Return a function that returns the compiled regular expression, the same one each time. Any thread.

    Args:
        text: The regular expression.
        flags: Those of `re.compile`.
    """
    return functools.cache(functools.partial(re.compile, text, flags))
