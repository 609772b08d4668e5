"""Whether a Redis user may use the commands that a store needs."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from asyncauth.cli.doctor.finding import Finding, fail, ok
from asyncauth.provider import key_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncauth.cli.stores import Chosen
    from asyncauth.stores import RedisStore

__all__ = ["missing_commands", "rights"]

_SCRIPTS = "EVAL, EVALSHA, SCRIPT LOAD"
_TRANSACTIONS = "WATCH, MULTI, EXEC"
_LISTING = "SCAN"


async def missing_commands(chosen: Chosen, store: RedisStore, timeout: float) -> list[str]:  # noqa: ASYNC109
    """Return the commands that the user may not use, or that the server lacks. They are tried on a key of their own.

    Args:
        chosen: The store.
        store: The same, without keys.
        timeout: Seconds for one answer.

    Raises:
        StoreFailure: Redis does not answer.
    """
    name = store.prefix + key_of(f"asyncauth doctor {secrets.token_hex(16)}")

    async def scripts(client: Any) -> None:
        digest = await client.script_load("return 0")
        await client.evalsha(digest, 1, name)
        await client.eval("return 0", 1, name)

    async def transactions(client: Any) -> None:
        async with client.pipeline(transaction=True) as pipeline:
            await pipeline.watch(name)
            pipeline.multi()
            pipeline.get(name)
            await pipeline.execute()

    tries: dict[str, Callable[[Any], Awaitable[object]]] = {
        "GET": lambda client: client.get(name),
        "GETRANGE": lambda client: client.getrange(name, 0, 0),
        "PTTL": lambda client: client.pttl(name),
        "SET": lambda client: client.set(name, "probe", px=1000),
        "PEXPIRE": lambda client: client.pexpire(name, 1000),
        "DEL": lambda client: client.delete(name),
        _SCRIPTS: scripts,
        _TRANSACTIONS: transactions,
        _LISTING: lambda client: client.scan(0, match=name),
    }

    async def allowed(attempt: Callable[[Any], Awaitable[object]]) -> bool:
        async with store.client() as client:
            try:
                await attempt(client)
            except Exception as error:
                # By name: redis-py is imported where the store is.
                names = {each.__name__ for each in type(error).__mro__}
                if "ResponseError" not in names:
                    raise
                return "NoPermissionError" not in names and not str(error).lower().startswith("unknown command")
        return True

    return [what for what, attempt in tries.items() if not await chosen.answer(allowed(attempt), timeout)]


def rights(missing: list[str]) -> Finding:
    """Return what there is to say of the commands that are missing."""
    lacks = [name for name in missing if name not in {_SCRIPTS, _TRANSACTIONS, _LISTING}]
    if _SCRIPTS in missing and _TRANSACTIONS in missing:
        lacks += [f"{_SCRIPTS} (or {_TRANSACTIONS})"]
    if lacks:
        says = f"the Redis user may not use {', '.join(lacks)}"
        return fail(
            "store rights", says, "allow it with ACL SETUSER: the documentation's page on fleets has the whole command"
        )
    if _SCRIPTS in missing:
        return ok("store rights", "enough; scripts are forbidden, so locks are released in transactions")
    return ok("store rights", "the Redis user may use what a store needs")
