"""Builds the wheel, installs it alone in an empty environment, and uses it there.

What the source tree has and the wheel lacks (a module, ``py.typed``, a data file) fails, and so does an import that
only works where the development dependencies are installed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

USE = """
import asyncio, importlib.resources, warnings
warnings.simplefilter("error")
from asyncauth import Peakly, TokenManager, client_session
from asyncauth.sandbox import Sandbox
from asyncauth.testing import FakeClock, FakeProvider

assert importlib.resources.files("asyncauth").joinpath("py.typed").is_file(), "py.typed is missing"

async def main():
    async with Sandbox() as sandbox:
        peakly = Peakly(username="demo@example.com", password="sandbox-password", base_url=sandbox.peakly.url)
        async with client_session(peakly) as http, http.get(sandbox.peakly.url + "/api/check") as response:
            assert response.status == 200, response.status
    async with TokenManager(FakeProvider()) as manager:
        assert (await manager.token()).value

asyncio.run(main())
"""


def run(*command: str | Path, **options: object) -> None:
    """Run a command; what it prints is shown only if it fails."""
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command[:4]))} … failed:\n{done.stdout}\n{done.stderr}")


def main() -> None:
    """Build, compare, install, use."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run(sys.executable, "-m", "build", "--wheel", "--outdir", work, ROOT)
        (wheel,) = work.glob("*.whl")
        packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("asyncauth/")}
        source = {
            str(path.relative_to(ROOT))
            for path in (ROOT / "asyncauth").rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        if packed != source:
            sys.exit(f"the wheel and the source tree differ: {sorted(packed ^ source)}")
        venv.create(work / "empty", with_pip=True)
        python = work / "empty" / "bin" / "python"
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
        run(python, "-I", "-c", USE, cwd=work)
    print(f"wheel: {len(packed)} files, installed alone, imported and used")


if __name__ == "__main__":
    main()
