"""What aiohttp keeps private, read in this one place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiohttp
    from aiohttp import ClientMiddlewareType

__all__ = ["loop_of", "middlewares_of", "settings_of"]


def loop_of(session: aiohttp.ClientSession) -> asyncio.AbstractEventLoop:
    """Return the event loop that a session belongs to (its public ``loop`` is deprecated)."""
    return session._loop


def middlewares_of(session: aiohttp.ClientSession) -> Sequence[ClientMiddlewareType]:
    """Return a session's own middlewares."""
    return session._middlewares


# Constructor argument → the attribute that keeps it. What a version of aiohttp doesn't have is left out.
_KEPT_AS = {
    "base_url": "_base_url",
    "connector": "_connector",
    "headers": "_default_headers",
    "skip_auto_headers": "_skip_auto_headers",
    "auth": "_default_auth",
    "proxy": "_default_proxy",
    "proxy_auth": "_default_proxy_auth",
    "json_serialize": "_json_serialize",
    "json_serialize_bytes": "_json_serialize_bytes",
    "request_class": "_request_class",
    "response_class": "_response_class",
    "ws_response_class": "_ws_response_class",
    "version": "_version",
    "cookie_jar": "_cookie_jar",
    "raise_for_status": "_raise_for_status",
    "timeout": "_timeout",
    "auto_decompress": "_auto_decompress",
    "trust_env": "_trust_env",
    "requote_redirect_url": "_requote_redirect_url",
    "trace_configs": "_trace_configs",
    "read_bufsize": "_read_bufsize",
    "max_line_size": "_max_line_size",
    "max_field_size": "_max_field_size",
    "max_headers": "_max_headers",
    "fallback_charset_resolver": "_resolve_charset",
}


def settings_of(session: aiohttp.ClientSession) -> dict[str, Any]:
    """Return the constructor arguments that make a session like this one, on the same connector and cookie jar.

    Its middlewares are not among them.
    """
    settings: dict[str, Any] = {
        argument: getattr(session, attribute) for argument, attribute in _KEPT_AS.items() if hasattr(session, attribute)
    }
    return {argument: value for argument, value in settings.items() if value is not None}
