"""A packed answer, unpacked with care: a few kilobytes may hold gigabytes. Pure: no I/O and no clock."""

from __future__ import annotations

import zlib

__all__ = ["ACCEPTED", "decompressed"]

ACCEPTED = "gzip, deflate"
"""What a token request's ``Accept-Encoding`` says."""

_GZIP = 16 + zlib.MAX_WBITS
_DEFLATE = zlib.MAX_WBITS
_BARE_DEFLATE = -zlib.MAX_WBITS
"""Without the header that RFC 1950 asks for: some servers leave it out."""


def decompressed(body: bytes, coding: str | None, limit: int) -> bytes | None:
    """Return what a body holds: all of it, or more than ``limit`` bytes if it holds more.

    aiohttp would unpack as it reads, and before 3.13.3 without a limit: 400 kB made 270 MiB.

    Args:
        body: As it came.
        coding: Its ``Content-Encoding``.
        limit: How many bytes are of interest. One more is returned at most of what is packed.

    Returns:
        ``None`` if it can't be unpacked, or was cut short.

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
