"""The public names, and which module may import which."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

import asyncauth

PACKAGE = Path(asyncauth.__file__).parent

PUBLIC = {
    "asyncauth": {
        "AuthError",
        "BearerAuth",
        "ClientCredentials",
        "Clock",
        "ConfigurationError",
        "CredentialsRejected",
        "DeclaredProvider",
        "DeviceCode",
        "DevicePrompt",
        "InsecureTransport",
        "InvalidTokenResponse",
        "JWTBearer",
        "LockTimeout",
        "ManagerClosed",
        "ManagerPool",
        "PagoFacil",
        "PagoFacilJWT",
        "PagoFacilLogin",
        "PasswordGrant",
        "Peakly",
        "PoolStatus",
        "Provider",
        "RefreshGrant",
        "RefreshPolicy",
        "Status",
        "StoreError",
        "Token",
        "TokenEndpointUnavailable",
        "TokenExchange",
        "TokenManager",
        "client_session",
        "wrap_session",
    },
    "asyncauth.stores": {
        "EncryptedStore",
        "FileStore",
        "Lease",
        "MemoryStore",
        "RedisStore",
        "TokenStore",
        "dumps",
        "loads",
        "remains",
        "time_to_live",
    },
    "asyncauth.testing": {"FakeClock", "FakeProvider", "StoreConformance", "mock_aiohttp", "static_manager"},
}

# The house, top to bottom: a module imports from its own row's predecessors and from rows above, never from below.
HOUSE = [
    {"errors", "clock", "forks", "token"},
    {"expiry", "policy", "challenge", "origin", "status", "held", "setback", "provider", "_aiohttp", "body", "foreign"},
    {"events"},
    {"telemetry.__init__", "telemetry.log", "telemetry.otel", "listeners"},
    {"report"},
    {"jose", "providers.coding", "providers.moments", "providers.parameters"},
    {
        "flight",
        "gate",
        "schedule",
        "connections",
        "providers.attempt",
        "providers.credential",
        "providers.reply",
        "dpop",
    },
    {"providers.endpoint", "providers.base", "providers.client", "stores.base", "shared", "common"},
    {
        "providers.pago_facil",
        "providers.declared",
        "providers.discovery",
        "providers.client_request",
        "state",
        "refresh",
    },
    {"providers.oauth2"},
    {"providers.grants", "providers.refresh_grant", "providers.jwt_bearer", "providers.token_exchange"},
    {"providers.device_code", "providers.peakly"},
    {"stores.memory", "stores.file", "stores.redis", "stores.encrypted", "stores.__init__"},
    {"manager"},
    {"middleware"},
    {"session", "pool"},
    {"telemetry.health"},
    {"__init__"},
]
BESIDE = ("testing", "sandbox", "cli", "__main__")


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.removeprefix("asyncauth.") for name in found if name.startswith("asyncauth.")}


def _modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if not name.startswith(BESIDE) and name != "providers.__init__":
            found[name] = path
    return found


@pytest.mark.parametrize("module", PUBLIC)
def test_the_public_names_are_pinned(module: str) -> None:
    """A public name comes or goes only on purpose."""
    loaded = importlib.import_module(module)
    assert set(loaded.__all__) == PUBLIC[module]
    assert all(hasattr(loaded, name) for name in loaded.__all__)


def test_every_error_is_a_client_error() -> None:
    """Whatever asyncauth raises, code that handles aiohttp's errors handles it."""
    for name in PUBLIC["asyncauth"]:
        thing = getattr(asyncauth, name)
        if isinstance(thing, type) and issubclass(thing, Exception):
            assert issubclass(thing, asyncauth.AuthError)
            assert issubclass(thing, aiohttp.ClientError)


def test_every_module_has_its_place_in_the_house() -> None:
    """No module is outside of the house's rows."""
    assert set(_modules()) == set().union(*HOUSE)


def test_imports_run_downwards_only() -> None:
    """A module imports nothing from a lower row, and nothing that stands beside the library."""
    rows = {module: number for number, row in enumerate(HOUSE) for module in row}
    for module, path in _modules().items():
        for imported in _imports(path) & set(rows):
            assert rows[imported] <= rows[module], f"{module} imports {imported}"
        assert not any(name.split(".")[0] in BESIDE for name in _imports(path)), module


def test_the_sandbox_shares_nothing_with_the_client() -> None:
    """The sandbox imports nothing of the client side: one misreading can't pass on both."""
    for path in (PACKAGE / "sandbox").rglob("*.py"):
        assert not {name for name in _imports(path) if not name.startswith("sandbox")}, path


def test_importing_asyncauth_imports_no_optional_dependency() -> None:
    """``import asyncauth`` loads no extra, no test kit, no sandbox and no command line."""
    optional = ("redis", "filelock", "cryptography", "opentelemetry", "typer", "rich", "joserfc", "jwt", "keyring")
    beside = tuple(f"asyncauth.{name}" for name in BESIDE)
    code = f"import sys, asyncauth; print([n for n in {(*optional, *beside, 'cattrs')!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_asyncauth_imports_no_provider() -> None:
    """Providers and the pool are loaded when they are first named, and then are what their modules say."""
    code = (
        "import sys, asyncauth\n"
        "assert not [n for n in sys.modules if n in {'asyncauth.pool', 'asyncauth.providers.peakly'}]\n"
        "assert set(asyncauth.__all__) <= set(dir(asyncauth))\n"
        "from asyncauth import *\n"
        "assert Peakly is sys.modules['asyncauth.providers.peakly'].Peakly is asyncauth.Peakly\n"
        "assert ManagerPool is sys.modules['asyncauth.pool'].ManagerPool\n"
        "assert not hasattr(asyncauth, 'Nonsense')\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
