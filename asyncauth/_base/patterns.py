"""Regular expressions that are compiled on first use: ``import asyncauth`` compiles none."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["pattern"]


def pattern(text: str, flags: int = 0) -> Callable[[], re.Pattern[str]]:
    """Return a function that returns the compiled regular expression. Usable in any thread.

    Args:
        text: The regular expression.
        flags: The flags of `re.compile` (default: none).
    """
    return functools.cache(functools.partial(re.compile, text, flags))
