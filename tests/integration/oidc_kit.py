"""oidc-provider, an OpenID-certified server of the Node.js world, on loopback: nobody here wrote it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from joserfc.jwk import ECKey

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent / "oidc"
INSTALLED = Path(__file__).parents[2] / ".oidc-provider"
VERSION: str = json.loads((HERE / "package.json").read_text())["dependencies"]["oidc-provider"]

BASIC: dict[str, Any] = {"client_id": "basic client:1", "client_secret": "s3cr%t:+&=/ ?~"}
POST: dict[str, Any] = {"client_id": "post-client", "client_secret": "s3cr%t:+&=/ ?~"}
PERSON: dict[str, Any] = {"client_id": "person-client", "client_secret": "secret"}
SCOPE = "openid offline_access"
API = "https://api.example.com/"

_OLDEST_NODE = 20
_INSTALL = ("install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel=error")


@attrs.frozen
class Oidc:
    """A running server."""

    issuer: str
    client_key: str
    """The private key of ``jwt-client``, in PEM."""

    def order(self, what: str, **options: str) -> Any:
        """Have the server do something that OAuth has no request for, and return what it says."""
        url = f"{self.issuer}/test/{what}?{urllib.parse.urlencode(options)}"
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 (our own server)
            return json.load(answer)

    def refresh_token(self, client_id: str = "person-client") -> str:
        """Return a new refresh token of its own family."""
        token: str = self.order("refresh-token", client_id=client_id)["refresh_token"]
        return token

    @property
    def seen(self) -> dict[str, Any]:
        """What happened so far: ``requests``, ``grants``, ``refusals``, ``revoked``."""
        counts: dict[str, Any] = self.order("seen")
        return counts


@contextlib.contextmanager
def serving() -> Iterator[Oidc]:
    """Run a server; skip the test where there can't be one."""
    node, package = _node(), _package()
    key = ECKey.generate_key("P-256")
    public = {**key.as_dict(private=False), "alg": "ES256", "use": "sig"}
    index = package / "node_modules" / "oidc-provider" / "lib" / "index.js"
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            [node, str(HERE / "server.mjs"), str(index)],
            env={**os.environ, "CLIENT_JWK": json.dumps(public), "NODE_ENV": "test"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            issuer = process.stdout.readline().strip()
            if not issuer:
                log.seek(0)
                pytest.fail(f"oidc-provider did not start: {log.read().decode()[-2000:]}")
            yield Oidc(issuer, key.as_pem(private=True).decode())
        finally:
            process.kill()


def _node() -> str:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is missing: oidc-provider needs it")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.strip().removeprefix("v").split(".")[0]) < _OLDEST_NODE:
        pytest.skip(f"Node.js {version.strip()} is too old: oidc-provider {VERSION} needs {_OLDEST_NODE}")
    return node


def _package() -> Path:
    """Return the folder that oidc-provider is installed in; install it if it is not."""
    target = INSTALLED / VERSION
    if (target / "node_modules").is_dir():
        return target
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is missing: oidc-provider can't be installed")
    INSTALLED.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=INSTALLED) as scratch:
        fresh = Path(scratch) / VERSION
        fresh.mkdir()
        shutil.copy(HERE / "package.json", fresh)
        # Nothing is written to the user's own folder, which need not be writable.
        environ = {**os.environ, "npm_config_cache": str(Path(scratch) / "cache")}
        try:
            subprocess.run([npm, *_INSTALL], cwd=fresh, env=environ, capture_output=True, timeout=40, check=True)
        except subprocess.SubprocessError:
            pytest.skip(f"npm can't install oidc-provider {VERSION}: is there a registry?")
        with contextlib.suppress(OSError):  # another run was faster
            fresh.rename(target)
    return target
