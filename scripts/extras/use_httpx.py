"""httpx's clients."""

from __future__ import annotations

import asyncio

from asyncauth.testing import static_manager


def use() -> None:
    """Authorize a request that is answered at once."""
    import httpx  # noqa: PLC0415 (where it is not installed, `without` runs)

    from asyncauth.httpx import async_client, client  # noqa: PLC0415

    async def ask() -> str:
        answers = httpx.MockTransport(lambda request: httpx.Response(200, text=request.headers["Authorization"]))
        manager = static_manager("t", origins="https://api.example.com")
        async with async_client(manager, transport=answers) as http:
            return (await http.get("https://api.example.com/")).text

    assert asyncio.run(ask()) == "Bearer t"
    answers = httpx.MockTransport(lambda request: httpx.Response(200, text=request.headers["Authorization"]))
    with client(static_manager("t", origins="https://api.example.com"), transport=answers) as http:
        assert http.get("https://api.example.com/").text == "Bearer t"


def without() -> None:
    """Import them."""
    import asyncauth.httpx  # noqa: F401, PLC0415
