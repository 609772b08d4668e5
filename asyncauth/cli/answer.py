"""An API's answer, printed: the body as it came, or all of it as JSON. The token that was sent is taken out of all."""

from __future__ import annotations

import base64
import json
import sys
from typing import TYPE_CHECKING, Any, Self

import attrs

from asyncauth._base.printable import printable
from asyncauth._base.redaction import Redactor
from asyncauth.cli import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    import aiohttp

__all__ = ["Answer"]

_WITHHELD = "[withheld]"
_SECRET_HEADERS = frozenset({"authorization", "authentication-info", "set-cookie", "set-cookie2"})
_FIRST_ERROR = 400


@attrs.frozen(repr=False)
class Answer:
    """What the API said, without the token that was sent, should the API have repeated it (`Redactor`).

    Attributes:
        status: The HTTP status.
        reason: Its phrase.
        url: Where it came from in the end, without query.
        headers: Those with several lines joined by commas; cookies withheld.
        body: The whole body.
        seconds: How long it took.
    """

    status: int
    reason: str
    url: str
    headers: dict[str, str]
    body: bytes
    seconds: float

    @classmethod
    def of(cls, response: aiohttp.ClientResponse, body: bytes, *, seconds: float, secrets: Iterable[str]) -> Self:
        """Return an answer as it may be shown.

        Args:
            response: The response.
            body: Its whole body.
            seconds: How long it took.
            secrets: What must not be shown: the tokens that were sent.
        """
        redactor = Redactor(secrets)
        headers: dict[str, str] = {}
        for each, line in response.headers.items():
            name = redactor.text(each, _WITHHELD)
            value = _WITHHELD if each.lower() in _SECRET_HEADERS else redactor.text(line, _WITHHELD)
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return cls(
            status=response.status,
            reason=redactor.text(response.reason or "", _WITHHELD),
            url=redactor.text(str(response.url.with_query(None).with_fragment(None)), _WITHHELD),
            headers=headers,
            body=redactor.data(body, _WITHHELD.encode()),
            seconds=seconds,
        )

    @property
    def succeeded(self) -> bool:
        """Whether the status is none of an error."""
        return self.status < _FIRST_ERROR

    def write(self, *, as_json: bool) -> None:
        """Print it to stdout; the status of an error to stderr."""
        if not self.succeeded:
            sys.stderr.write(f"asyncauth: {self.status} {printable(self.reason)}\n")
        if as_json:
            sys.stdout.write(shown.as_json(self.as_dict()) + "\n")
            sys.stdout.flush()
            return
        sys.stdout.flush()
        sys.stdout.buffer.write(self.body)
        if self.body and sys.stdout.isatty() and not self.body.endswith(b"\n"):
            sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON. A body that is not text is in ``body_base64``."""
        facts = attrs.asdict(self, filter=lambda attribute, _: attribute.name != "body")
        facts["seconds"] = round(self.seconds, 4)
        try:
            text = self.body.decode()
        except UnicodeDecodeError:
            return {**facts, "body_base64": base64.b64encode(self.body).decode()}
        try:
            return {**facts, "body": json.loads(text)}
        except ValueError:
            return {**facts, "body": text}
