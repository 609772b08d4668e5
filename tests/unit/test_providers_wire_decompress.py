"""Packed answers: unpacked to a limit, or not at all."""

from __future__ import annotations

import gzip
import zlib

import pytest

from asyncauth.providers.wire.decompress import decompressed

TEXT = b'{"access_token": "t"}'


def gzipped(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


def bare(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (None, TEXT),
        ("", TEXT),
        ("identity", TEXT),
        ("gzip", gzipped(TEXT)),
        (" GZIP ", gzipped(TEXT)),
        ("x-gzip", gzipped(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", bare(TEXT)),
    ],
)
def test_what_is_packed_comes_out(coding: str | None, body: bytes) -> None:
    """Every coding that is asked for is read, deflate as some servers mean it too."""
    assert decompressed(body, coding, 100) == TEXT


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip", None])
def test_nothing_is_nothing(coding: str | None) -> None:
    """An answer without a body is whole, whatever its headers say."""
    assert decompressed(b"", coding, 100) == b""


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", TEXT),
        ("deflate", TEXT),
        ("br", TEXT),
        ("gzip, gzip", gzipped(gzipped(TEXT))),
        ("gzip", gzipped(TEXT)[:-1]),
        ("gzip", gzipped(TEXT)[:-8]),
        ("gzip", gzipped(TEXT)[:5]),
        ("deflate", zlib.compress(TEXT)[:-1]),
        ("gzip", gzipped(TEXT)[:-5] + b"\0\0\0\0\0"),
    ],
)
def test_what_cant_be_unpacked_is_nothing(coding: str, body: bytes) -> None:
    """Garbage, what was cut short, and what nobody asked for are not taken for an answer."""
    assert decompressed(body, coding, 100) is None


@pytest.mark.parametrize(("size", "got"), [(99, 99), (100, 100), (101, 101), (102, 101), (10_000_000, 101)])
def test_no_more_is_unpacked_than_shows_that_it_is_too_much(size: int, got: int) -> None:
    """Beyond the limit one byte is unpacked, whatever is left."""
    plain = decompressed(gzipped(bytes(size)), "gzip", 100)
    assert plain is not None
    assert len(plain) == got
