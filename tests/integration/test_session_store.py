"""A session that makes its own managers can share their tokens."""

from __future__ import annotations

import pytest
from contract_kit import serving, status_of

from asyncauth import ConfigurationError, TokenManager, client_session
from asyncauth.stores import MemoryStore


async def test_a_session_shares_its_providers_tokens_through_a_store() -> None:
    """Two sessions, each with a manager of its own, and one store: one token request."""
    store = MemoryStore()
    with serving() as side:
        for _ in range(2):
            async with client_session(side.provider(), store=store) as http:
                assert await status_of(http, side.url()) == 200
        assert side.asked == side.rounds(1)


async def test_a_store_beside_managers_alone_is_a_mistake() -> None:
    """A manager has its own store: one that nobody would use is refused."""
    with serving() as side:
        manager = TokenManager(side.provider())
        with pytest.raises(ConfigurationError, match="store= is for providers"):
            client_session(manager, store=MemoryStore())
