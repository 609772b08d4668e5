"""A provider whose credential is another provider's token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncauth import AuthError
from asyncauth.testing import FakeProvider

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from asyncauth import Token
    from asyncauth.provider import Provider, TokenSource


class Chain(FakeProvider):
    """Its credential is another provider's token."""

    def __init__(self, upstream: Provider | TokenSource, **given: Any) -> None:
        super().__init__(**given)
        self.upstream: Any = upstream

    def chained(self, manage: Callable[[Provider], TokenSource]) -> Chain:
        return Chain(manage(self.upstream), clock=self.clock)

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        try:
            await self.upstream.token()
        except AuthError as error:
            error.upstream = True  # as `Credential` marks it
            raise
        return await super().fetch(http, previous)
