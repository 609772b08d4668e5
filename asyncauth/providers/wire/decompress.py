"""Decompresses an answer with a size limit: a few kilobytes may expand to gigabytes. Pure: no I/O and no clock."""

from __future__ import annotations

import zlib

__all__ = ["ACCEPTED", "decompressed"]

ACCEPTED = "gzip, deflate"
"""The ``Accept-Encoding`` of token requests."""

_GZIP = 16 + zlib.MAX_WBITS
_DEFLATE = zlib.MAX_WBITS
_BARE_DEFLATE = -zlib.MAX_WBITS
"""Without the header that RFC 1950 requires: some servers leave it out."""


def decompressed(body: bytes, coding: str | None, limit: int) -> bytes | None:
    """Return the content of a body: all of it, or more than ``limit`` bytes if it is longer.

    aiohttp would decompress while it reads, and before 3.13.3 without a limit: 400 kB expanded to 270 MiB.

    Args:
        body: The body as it was received.
        coding: Its ``Content-Encoding``; ``None``: it has none.
        limit: The most bytes that are needed. Of a compressed body, at most one more is returned.

    Returns:
        ``None`` if it can't be decompressed, or was cut short.

    Source: RFC 9110 §8.4.1.
    """
    name = (coding or "").strip().lower()
    if not body or name in {"", "identity"}:
        return body
    if name in {"gzip", "x-gzip"}:
        form = _GZIP
    elif name == "deflate":
        form = _DEFLATE if body[0] & 0x0F == zlib.DEFLATED else _BARE_DEFLATE
    else:
        return None
    unpacker = zlib.decompressobj(form)
    try:
        plain = unpacker.decompress(body, limit + 1)
    except zlib.error:
        return None
    return plain if unpacker.eof or len(plain) > limit else None
