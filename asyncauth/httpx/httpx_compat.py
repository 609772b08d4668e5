"""All access to httpx's private attributes: a client's transports, a transport's proxy, a multipart form's fields."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import httpx
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["is_whole", "proxy_of", "wrap_transports"]

_MULTIPART: Final = ("httpx._multipart", "MultipartStream")


def proxy_of(transport: Any) -> URL | None:
    """Return the proxy of a transport, which only a private attribute of its connection pool contains."""
    proxy = getattr(getattr(transport, "_pool", None), "_proxy_url", None)
    if proxy is None:
        return None
    return URL.build(scheme=proxy.scheme.decode("ascii"), host=proxy.host.decode("ascii"), port=proxy.port)


def wrap_transports(client: Any, wrapped: Callable[[Any], Any]) -> None:
    """Put each transport of a client inside another one, those for proxies included."""
    client._transport = wrapped(client._transport)
    client._mounts = {
        pattern: None if transport is None else wrapped(transport) for pattern, transport in client._mounts.items()
    }


def is_whole(stream: object) -> bool:
    """Return whether a body can be sent any number of times: bytes, or a multipart form of bytes and seekable files.

    httpx rewinds the files of a multipart form before each sending. This reads private attributes of the form.
    """
    kind = type(stream)
    if kind is httpx.ByteStream:
        return True
    return (kind.__module__, kind.__name__) == _MULTIPART and all(map(_is_whole_field, cast("Any", stream).fields))


def _is_whole_field(field: Any) -> bool:
    file = getattr(field, "file", b"")  # only a file's field has this attribute
    if isinstance(file, (str, bytes)):
        return True
    try:
        return not file.closed and bool(file.seekable())
    except (AttributeError, ValueError):
        return False
