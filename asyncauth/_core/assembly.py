"""Makes what an engine works with, and imports its class only then: most programs never need some of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncauth._core.provider_members import shared_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from asyncauth._core.cache import TokenState
    from asyncauth._core.emitter import Emitter
    from asyncauth._core.limiter import RequestLimiter
    from asyncauth._core.provider_options import OptionValues
    from asyncauth._core.refresh import Refresh
    from asyncauth._core.runtime import Runtime
    from asyncauth._core.store_client import StoreClient
    from asyncauth.provider import Provider
    from asyncauth.stores.base import TokenStore

__all__ = ["new_emitter", "new_refresh", "new_store_client"]


def new_emitter(provider: Provider, runtime: Runtime, options: OptionValues, tenant: Hashable) -> Emitter:
    """Return what tells of an engine's events.

    Args:
        provider: The engine's.
        runtime: What the engine works with.
        options: What the provider declares.
        tenant: The engine's key in a pool; ``None``: it is in none.
    """
    # Imported with the first event: its classes take a twentieth of what `import aiohttp` takes.
    from asyncauth._core.emitter import Emitter  # noqa: PLC0415

    return Emitter(provider, runtime, tenant, options.step)


def new_store_client(
    store: TokenStore, provider: Provider, runtime: Runtime, options: OptionValues, tenant: Hashable
) -> StoreClient:
    """Return an engine's entry in a store.

    Args:
        store: The store.
        provider: As for `new_emitter`, as are the others.
        runtime: What the engine works with.
        options: What the provider declares.
        tenant: The engine's key in a pool.

    Raises:
        ConfigurationError: The provider has no identity, so its token can't be shared.
    """
    from asyncauth._core.store_client import StoreClient  # noqa: PLC0415 (imported with the first store)

    identity = shared_identity(provider, bound=options.prover is not None)
    emitter = new_emitter(provider, runtime, options, tenant)
    client = StoreClient(store, identity, runtime.clock, runtime.policy.store_timeout, emitter)
    if runtime.in_pool:
        from asyncauth._core.tenant_key import name_of as tenant_name_of  # noqa: PLC0415 (as above)

        client.keep_apart(tenant_name_of(tenant))
    return client


def new_refresh(
    provider: Provider,
    state: TokenState,
    runtime: Runtime,
    *,
    options: OptionValues,
    limiter: RequestLimiter | None,
    emitter: Callable[[], Emitter],
    store_client: StoreClient | None,
) -> Refresh:
    """Return the work of a flight: see `Refresh` for the arguments.

    Args:
        provider: The engine's.
        state: What is known of its token.
        runtime: What the engine works with.
        options: What the provider declares.
        limiter: Where it waits for a slot; ``None``: it needs none.
        emitter: Returns what tells of its events.
        store_client: The engine's entry in a store; ``None``: there is no store.
    """
    if store_client is None:
        # Imported with the first refresh: until then a program has no use for it, nor for what it imports.
        from asyncauth._core.refresh import Refresh  # noqa: PLC0415

        return Refresh(provider, state, runtime, options=options, limiter=limiter, emitter=emitter)
    from asyncauth._core.shared_refresh import SharedRefresh  # noqa: PLC0415 (most engines have no store)

    return SharedRefresh(
        provider, state, runtime, options=options, limiter=limiter, emitter=emitter, store_client=store_client
    )
