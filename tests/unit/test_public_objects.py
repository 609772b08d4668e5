"""Each public object, made with a secret wherever it takes one: no repr, text, pickle or deep copy shows it."""

from __future__ import annotations

import copy
import inspect
import pickle
import pprint
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from cryptography.fernet import Fernet
from harness.canary import found, secret
from oauth2_kit import PEM, URL

import asyncauth
from asyncauth import sandbox, stores, testing
from asyncauth.sandbox import Sandbox
from asyncauth.stores import MemoryStore
from asyncauth.testing import FakeProvider

TOKEN: dict[str, Any] = {
    "issued_at": 0,
    "expires_at": 3600,
    "refresh_token": secret("refresh"),
    "extra": {"user": secret("extra")},
}
ACCOUNT: dict[str, Any] = {"username": "ana", "password": secret("password")}
CLIENT: dict[str, Any] = {"token_url": f"{URL}?key={secret('url')}", "client_id": "app", "dpop_key": PEM}
SECRET_POST: dict[str, Any] = {**CLIENT, "client_secret": secret("client"), "client_auth": "client_secret_post"}


def token() -> asyncauth.Token:
    return asyncauth.Token(secret("access"), **TOKEN)


async def held() -> asyncauth.TokenManager:
    manager = asyncauth.TokenManager(FakeProvider(answers=[asyncauth.Token(secret("access"), **TOKEN)]))
    await manager.token()
    return manager


async def blocking() -> asyncauth.Blocking:
    return (await held()).blocking


async def revocation() -> asyncauth.Revocation:
    return await (await held()).revoke()


async def token_revocation() -> asyncauth.TokenRevocation:
    return (await revocation()).remaining[0]


async def pool() -> asyncauth.ManagerPool[str]:
    pool: asyncauth.ManagerPool[str] = asyncauth.ManagerPool(
        lambda _: FakeProvider(answers=[asyncauth.Token(secret("access"), **TOKEN)])
    )
    await (await pool.get("tenant")).token()
    return pool


async def memory() -> MemoryStore:
    store = MemoryStore()
    await store.save("ab" * 32, asyncauth.Token(secret("access"), **{**TOKEN, "expires_at": None}))
    return store


async def status() -> asyncauth.Status:
    return (await held()).status()


async def pool_status() -> asyncauth.PoolStatus:
    return (await pool()).status()


def rejection() -> stores.Rejection:
    return stores.Rejection(digest=secret("digest"), until=2e9, times=1)


async def bearer() -> asyncauth.BearerAuth:
    return asyncauth.BearerAuth(await held())


def context() -> asyncauth.RequestContext:
    made = asyncauth.current_request_context()
    made.sending(secret("sent"))
    return made


MADE: dict[type, Callable[[], Any]] = {
    asyncauth.Token: token,
    asyncauth.TokenManager: held,
    asyncauth.Blocking: blocking,
    asyncauth.ManagerPool: pool,
    asyncauth.Revocation: revocation,
    asyncauth.TokenRevocation: token_revocation,
    asyncauth.BearerAuth: bearer,
    asyncauth.RequestContext: context,
    asyncauth.Status: status,
    asyncauth.PoolStatus: pool_status,
    asyncauth.Peakly: lambda: asyncauth.Peakly(**ACCOUNT),
    asyncauth.PagoFacil: lambda: asyncauth.PagoFacil(jwt=secret("jwt")),
    asyncauth.PagoFacilJWT: lambda: asyncauth.PagoFacilJWT.from_password(**ACCOUNT),
    asyncauth.PagoFacilLogin: lambda: asyncauth.PagoFacilLogin(**ACCOUNT),
    asyncauth.ClientCredentials: lambda: asyncauth.ClientCredentials(**SECRET_POST),
    asyncauth.PasswordGrant: lambda: asyncauth.PasswordGrant(**ACCOUNT, **CLIENT),
    asyncauth.RefreshGrant: lambda: asyncauth.RefreshGrant(refresh_token=secret("rt"), account="ana", **CLIENT),
    asyncauth.JWTBearer: lambda: asyncauth.JWTBearer(assertion=secret("jwt"), account="ana", **CLIENT),
    asyncauth.TokenExchange: lambda: asyncauth.TokenExchange(subject_token=secret("st"), account="ana", **CLIENT),
    asyncauth.DeviceCode: lambda: asyncauth.DeviceCode(
        device_authorization_url=URL, show=print, account="ana", **CLIENT
    ),
    asyncauth.DeclaredProvider: lambda: asyncauth.DeclaredProvider(
        name="acme",
        url=URL,
        credential={"ana": secret("key")},
        sent_as="basic",
        headers={"X": secret("head")},
    ),
    stores.Entry: lambda: attrs.evolve(stores.Entry.of(token()), rejections=(rejection(),)),
    stores.MemoryStore: memory,
    stores.RedisStore: lambda: stores.RedisStore(f"redis://user:{secret('password')}@localhost:1/0"),
    stores.EncryptedStore: lambda: stores.EncryptedStore(MemoryStore(), Fernet.generate_key()),
    testing.FakeProvider: lambda: FakeProvider(answers=[token()]),
    sandbox.Sandbox: lambda: Sandbox(password=secret("password"), token_prefix=secret("prefix")),
    sandbox.PeaklySandbox: lambda: Sandbox(password=secret("password")).peakly,
    sandbox.PagoFacilSandbox: lambda: Sandbox(password=secret("password")).pago_facil,
}
"""What takes a secret, or holds what does."""

TAKE_NONE: set[type] = {
    asyncauth.RefreshRequest,  # says where a refresh token goes
    asyncauth.OAuthOptions,  # the type of arguments: a constructor takes them out of the dict at once
    asyncauth.AnswerFields,  # names of fields
    asyncauth.ErrorFields,  # names of fields, and values that are not secret
    asyncauth.DevicePrompt,  # shows a person what they are to type
    asyncauth.RefreshPolicy,
    stores.FileStore,  # holds a path
    stores.Rejection,  # what it keeps of a secret is of no use to anybody
    testing.FakeClock,
    testing.mock_aiohttp,
    sandbox.PeaklySettings,  # the password is a test server's, which goes to another process with them
    sandbox.PagoFacilSettings,
    sandbox.Counts,
    sandbox.Fault,
    sandbox.FaultPlan,
    sandbox.Living,
    sandbox.Record,
    sandbox.Details,  # what it shows of a request is its own tests' subject
    sandbox.Shown,
    # Interfaces
    asyncauth.Clock,
    asyncauth.Provider,
    asyncauth.ProviderOptions,
    asyncauth.RevokingProvider,
    stores.Lease,
    stores.TokenStore,
    testing.StoreConformance,
}


def test_no_public_class_is_missing_here() -> None:
    """The author of a class says here whether it takes a secret. Errors and events are searched in every test."""
    public = {getattr(module, name) for module in (asyncauth, stores, testing, sandbox) for name in module.__all__}
    classes = {each for each in public if inspect.isclass(each) and not issubclass(each, Exception)}
    assert classes == MADE.keys() | TAKE_NONE


def _pickled(thing: object) -> str:
    text = []
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        try:
            text.append(pickle.dumps(thing, protocol).decode("latin-1"))
        except Exception as error:  # noqa: BLE001 (each refuses as it likes)
            text.append(repr(error))
    return "\n".join(text)


def _copied(thing: object) -> str:
    try:
        return repr(copy.deepcopy(thing))
    except Exception as error:  # noqa: BLE001
        return repr(error)


@pytest.mark.parametrize("kind", MADE, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("way", [repr, str, format, pprint.pformat, _pickled, _copied], ids=lambda way: way.__name__)
async def test_no_way_to_write_it_down_shows_its_secrets(kind: type, way: Callable[[object], str]) -> None:
    """Neither for people nor for machines."""
    thing = MADE[kind]()
    thing = await thing if inspect.isawaitable(thing) else thing
    assert isinstance(thing, kind) or kind is asyncauth.PagoFacilJWT
    assert found(way(thing)) is None
    assert found(way([thing])) is None
