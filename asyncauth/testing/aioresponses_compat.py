"""All access to aioresponses (extra ``testing``), its private attributes and methods included."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import aiohttp

try:
    from aioresponses import aioresponses
    from aioresponses.compat import normalize_url
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "mock_aiohttp needs aioresponses: pip install 'asyncauth[testing]'", name=error.name
    ) from None

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import ClientResponse
    from yarl import URL

__all__ = ["Aioresponses", "answer_for", "close_at_end", "is_passed_through", "normalized", "patch_of", "record_of",
           "response_of"]  # fmt: skip

Aioresponses: Any = aioresponses  # it has few types of its own


def normalized(url: URL) -> URL:
    """Return a URL as aioresponses compares it: with its query in order."""
    same: URL = normalize_url(url)
    return same


def patch_of(request: Callable[..., Any]) -> Any:
    """Return a patch that calls a function in place of every ``ClientSession._request``.

    aioresponses' own patch makes a specification of the method, which takes milliseconds each time it starts.
    """
    return patch.object(aiohttp.ClientSession, "_request", request)


def is_passed_through(mock: Any, url: URL) -> bool:
    """Return whether requests to a URL are really sent."""
    return str(url).startswith(tuple(mock._passthrough))


def answer_for(mock: Any, method: str, url: URL) -> Any:
    """Return the answer for a request, and use it up unless it repeats; ``None``: there is none."""
    for key, match in mock._matches.items():
        if match.match(method, url):
            if match.repeat is not True:
                match.repeat -= 1  # False counts as 0: one use
                if match.repeat <= 0:
                    del mock._matches[key]
            return match
    return None


def record_of(mock: Any, method: str, **call: Any) -> Any:
    """Return what ``requests`` keeps of a call: a copy."""
    return mock._build_request_call(method, **call)


def response_of(match: Any, **options: Any) -> ClientResponse:
    """Return the response that an answer makes."""
    response: ClientResponse = match._build_response(**options)
    return response


def close_at_end(mock: Any, response: ClientResponse) -> None:
    """Close a response when the mock stops."""
    mock._responses.append(response)
