"""The recipes of docs/howto/other-clients.md run as they are printed, gRPC's against a server with TLS."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from docs_kit import DOCS, Terminal, blocks_of
from docs_world import world
from httpx_kit import fake_manager
from loopback import Api, redirect_to

PAGE = DOCS / "howto" / "other-clients.md"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the page shows a POSIX shell")


@contextlib.contextmanager
def grpc_server(folder: Path) -> Iterator[dict[str, str]]:
    """Run one in a process of its own; give the variables with which a client finds it, and trusts it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "grpc-authority.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "grpc.pem")
    program = Path(__file__).parent / "python_servers" / "grpc_server.py"
    command = [sys.executable, str(program), str(folder / "grpc.pem")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            yield {
                "ORDERS": f"localhost:{port}",
                "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(folder / "grpc-authority.pem"),
            }
        finally:
            process.stdin.close()


@pytest.mark.timeout(600)  # a page has many commands
def test_the_page_of_other_clients(tmp_path: Path) -> None:
    """A reader who copies its blocks from top to bottom sees what it shows."""
    servers, here = tmp_path / "servers", tmp_path / "here"
    servers.mkdir()
    here.mkdir()
    with world(servers) as environment, grpc_server(servers) as grpc:
        terminal = Terminal(here, {**environment, **grpc})
        try:
            terminal.run(PAGE)
        finally:
            terminal.close()


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Token"])
async def test_the_adapter_for_requests_takes_no_token_elsewhere(name: str) -> None:
    """Not with a redirect, whatever the header; what the caller set stays, and no answer shows the token."""
    code = next(
        block.text for block in blocks_of(PAGE.read_text(encoding="utf-8")) if block.caption == "with_tokens.py"
    )
    defined: dict[str, Any] = {}
    exec(code, defined)  # noqa: S102 (the page's)
    async with Api().serve() as api, Api().serve() as other:
        api.good = other.good = None
        api.carried = other.carried = lambda request: request.headers.get(name)
        api.routes["/away"] = redirect_to(f"{other.url}/there")
        other.routes["/there"] = redirect_to(f"{api.url}/back")
        manager = fake_manager(api.url, carried_as=f"header:{name}", scheme="")

        def work() -> requests.Response:
            with requests.Session() as http:
                http.trust_env = False
                http.mount("http://", defined["TokenAdapter"](manager))
                http.get(api.url, headers={name: "mine"}, timeout=10)
                return http.get(f"{api.url}/away", timeout=10)

        response = await asyncio.to_thread(work)
    assert api.tokens == ["mine", "token-1", "token-1"]
    assert other.tokens == [None]
    assert not [each for each in (response, *response.history) if name in each.request.headers]
