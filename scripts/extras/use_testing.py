"""mock_aiohttp, and the pytest plugin."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

from asyncauth import client_session
from asyncauth.testing import FakeProvider

URL = "https://api.example.com/"

TEST = """
def test_fixtures(asyncauth_sandbox, asyncauth_clock):
    assert asyncauth_sandbox.peakly.url and asyncauth_clock.wall()
"""


def use() -> None:
    """Answer a request, and run a test that uses the fixtures."""
    asyncio.run(_mocked())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "test_it.py"
        file.write_text(TEST)
        subprocess.run([sys.executable, "-I", "-m", "pytest", "-q", "-W", "error", str(file)], check=True, cwd=folder)


async def _mocked() -> None:
    with importlib.import_module("asyncauth.testing").mock_aiohttp() as mock:
        mock.get(URL, status=204)
        async with client_session(FakeProvider()) as http, http.get(URL) as response:
            assert response.status == 204


def without() -> None:
    """Ask for mock_aiohttp."""
    _ = importlib.import_module("asyncauth.testing").mock_aiohttp
