"""Whether a request's body can be sent a second time.

Known by its kind, never by ``body.consumed``: depending on aiohttp's version that is missing, or says ``False`` for a
generator that has given everything away. Such a body would be sent again empty, and the server would answer 200.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import MultipartWriter, payload

if TYPE_CHECKING:
    from aiohttp import ClientRequest

__all__ = ["is_whole"]


def is_whole(request: ClientRequest) -> bool:
    """Return whether the body is known to be whole, however much of it has been sent.

    That is so for no body, bytes, text, JSON, forms, seekable files, and multipart of such parts.
    """
    return _whole(request.body)


def _whole(body: object) -> bool:
    if body is None or isinstance(body, (bytes, bytearray)):
        return True
    if isinstance(body, payload.IOBasePayload):
        file = body._value
        try:
            return not file.closed and bool(file.seekable())
        except (AttributeError, ValueError):
            return False
    if isinstance(body, MultipartWriter):
        return all(_whole(part) for part, _, _ in body._parts)
    return isinstance(body, payload.BytesPayload)  # bytes, text, JSON and url-encoded forms
