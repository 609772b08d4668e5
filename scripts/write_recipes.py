"""Writes docs/howto/find-your-api.md from docs/howto/find-your-api.toml: python scripts/write_recipes.py."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "docs" / "howto"
DATA = FOLDER / "find-your-api.toml"
PAGE = FOLDER / "find-your-api.md"

INTRODUCTION = """\
# Find your API

This page declares some fifty systems, each in at most ten lines. The project's tests run every declaration against an
emulated endpoint: it sends what the system's documentation requires, reads the documented answer, and reports a wrong
credential with the server's message. If a system has changed since, follow its documentation.

```python
import os

from asyncauth import (
    AnswerFields,
    ClientCredentials,
    DeclaredProvider,
    ErrorFields,
    JWTBearer,
    PagoFacilJWT,
    PasswordGrant,
    Peakly,
    RefreshGrant,
    RefreshRequest,
    client_session,
)
```

Pass the provider to `client_session` or to a `TokenManager`:

```python
async with client_session(provider) as http:
    async with http.get("https://api.example.com/orders") as response:
        print(response.status)
```

Some systems need a store, because a restarted process needs the last refresh token or several processes share it.
Write `client_session(provider, store=FileStore("tokens"))` on one machine ([files](files.md)), or
`store=RedisStore("redis://…")` for several ([fleets](fleets.md)). `account=` is the name under which the store keeps
the token.

If a refresh token was revoked or has expired, replace it in the declaration. You don't need to empty the store.

If none of these fits, see [an API that is almost OAuth](almost-oauth.md), and [another OAuth 2.0 server](oauth2.md).

<!-- Written by scripts/write_recipes.py from find-your-api.toml: change that. -->
"""


def recipes() -> list[Mapping[str, Any]]:
    """Return the recipes."""
    found: list[Mapping[str, Any]] = tomllib.loads(DATA.read_text(encoding="utf-8"))["recipe"]
    return found


def page(known: Iterable[Mapping[str, Any]]) -> str:
    """Return the page."""
    parts, section = [INTRODUCTION], ""
    for recipe in known:
        if recipe["section"] != section:
            section = recipe["section"]
            parts.append(f"## {section}\n")
        code = f"{recipe['code'].strip()}\n"
        parts.append(f"### {recipe['title']}\n\n{recipe['about']}\n\n```python\n{code}```\n")
        if "helper" in recipe and "note" not in recipe:
            parts.append(f"```python\n{recipe['helper'].strip()}\n```\n")
        if "note" in recipe:
            parts.append(f"{recipe['note']}\n")
        parts.append(f"Documentation: <{recipe['source']}>\n")
    return "\n".join(parts)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(recipes()), encoding="utf-8")


if __name__ == "__main__":
    main()
