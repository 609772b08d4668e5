"""Makes what an engine works with, and imports its class only then: most programs never need some of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from asyncauth._core.provider_members import shared_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from asyncauth._core.emitter import Emitter
    from asyncauth._core.provider_options import OptionValues
    from asyncauth._core.runtime import Runtime
    from asyncauth._core.shared_refresh import SharedRefresh
    from asyncauth._core.store_client import StoreClient
    from asyncauth.provider import Provider
    from asyncauth.stores.base import TokenStore

__all__ = ["new_emitter", "new_shared_refresh", "new_store_client"]


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


def new_shared_refresh(store_client: StoreClient) -> Callable[..., SharedRefresh]:
    """Return what makes the work of a flight that shares its token.

    Args:
        store_client: The engine's entry in the store.
    """
    from asyncauth._core.shared_refresh import SharedRefresh  # noqa: PLC0415 (most engines have no store)

    return partial(SharedRefresh, store_client=store_client)
