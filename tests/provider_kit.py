"""Token endpoints without sockets, and what was asked of them."""

from __future__ import annotations

import importlib.metadata
import json
import traceback
from email.utils import formatdate
from re import Pattern
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import aiohttp
import attrs
import pytest
from aiohttp import hdrs
from harness.frames import is_of_the_library
from multidict import CIMultiDict
from yarl import URL

from asyncauth import AuthError
from asyncauth._core.try_state import TryState, set_try
from asyncauth.testing import FakeClock, mock_aiohttp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncauth import Provider, Token

NOW = 1_700_000_000.0
"""What our wall clock and the servers' say, unless a test says otherwise: 2023-11-14 22:13:20 UTC."""

HOUR = 3600.0
DAY = 24 * HOUR

_ENCODES_TWICE = importlib.metadata.version("aioresponses") == "0.7.8"
"""Whether aioresponses percent-encodes a query once more before it shows a URL."""


def http_date(epoch: float) -> str:
    """Write an instant as servers do."""
    return formatdate(epoch, usegmt=True)


@attrs.frozen
class Sent:
    """One token request as it would have gone out."""

    url: str
    headers: CIMultiDict[str]
    body: bytes
    content_type: str | None
    options: Mapping[str, Any]

    @property
    def query(self) -> dict[str, str]:
        """The fields of the URL's query."""
        fields = URL(self.url).query.items()
        return {unquote(name): unquote(value) for name, value in fields} if _ENCODES_TWICE else dict(fields)

    @property
    def form(self) -> dict[str, str]:
        """The fields of a form, each of which came once."""
        assert self.content_type == "application/x-www-form-urlencoded"
        pairs = parse_qsl(self.body.decode(), keep_blank_values=True, strict_parsing=True)
        assert len(pairs) == len(dict(pairs))
        return dict(pairs)

    @property
    def json(self) -> Any:
        """The JSON document."""
        assert self.content_type == "application/json"
        return json.loads(self.body)


class MockedHttp:
    """Answers to the next token requests, and what those requests were, in their order."""

    def __init__(self, mock: mock_aiohttp) -> None:
        self.mock = mock
        self.sent: list[Sent] = []

    def answers(
        self,
        url: str | Pattern[str],
        fields: object = None,
        *,
        status: int = 200,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        date: float | None = NOW,
        exception: Exception | None = None,
        times: int = 1,
    ) -> None:
        """Answer the next POST to this address: with JSON fields or a body, and the server's date if it has one."""
        sent_headers = {"Content-Type": "application/json"}
        if date is not None:
            sent_headers["Date"] = http_date(date)
        for _ in range(times):
            self.mock.post(
                url,
                status=status,
                body=json.dumps(fields).encode() if body is None else body,
                headers={**sent_headers, **(headers or {})},
                exception=exception,
                callback=self.note,
            )

    def note(self, url: URL, **options: Any) -> None:
        headers: CIMultiDict[str] = CIMultiDict(options.pop("headers", None) or {})
        data = options.pop("data", None)
        body, content_type = b"", headers.get(hdrs.CONTENT_TYPE)
        if data is not None:
            assert isinstance(data, bytes)
            body = data
        self.sent.append(Sent(str(url), headers, body, content_type, options))


async def fetch(provider: Provider, previous: Token | None = None, *, clock: FakeClock | None = None) -> Token:
    """Ask a provider once, as a manager would."""
    set_try(TryState(clock or FakeClock(wall=NOW)))
    async with aiohttp.ClientSession() as http:
        return await provider.fetch(http, previous)


async def failure(provider: Provider, previous: Token | None = None, *, clock: FakeClock | None = None) -> AuthError:
    """Ask a provider once, and return why it had no token."""
    with pytest.raises(AuthError) as caught:
        await fetch(provider, previous, clock=clock)
    return caught.value


def lifetime(token: Token) -> float:
    """Return the seconds that a token lives, where they are known."""
    assert token.lifetime is not None
    return token.lifetime


def keeps_quiet(error: BaseException, *secrets: str) -> None:
    """Check that nothing which a log or a debugger shows of an error holds a secret, and that it has no chain."""
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = [str(error), repr(error), repr(vars(error)), repr(error.args)]
    shown += traceback.TracebackException.from_exception(error).format()
    here = error.__traceback__
    while here is not None:
        if is_of_the_library(here.tb_frame):
            shown += [_repr(value) for value in here.tb_frame.f_locals.values()]
        here = here.tb_next
    for secret in secrets:
        assert not [text for text in shown if secret in text]


def _repr(value: object) -> str:
    """Return what a debugger would show."""
    try:
        return repr(value)
    except AttributeError:  # a provider that is only half made
        return ""
