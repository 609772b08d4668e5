"""The harness catches blocking calls, and what is left behind: tests that do wrong, each in one way, fail for it."""

from __future__ import annotations

import inspect
import types
from pathlib import Path

import pytest
from harness.frames import LIBRARY, holds_secrets_by_right, is_of_a_test, is_of_the_library
from harness.inner import outcomes

HEAD = """
import asyncio, contextlib, socket, threading, time
import aiohttp
import pytest

opened = []
"""

WRONG = {
    "blocks": """
from asyncauth.stores import file
async def test():
    exec(compile("import time; time.sleep(0.001)", file.__file__, "exec"))""",
    "blocks, and nobody hears of the error": """
from asyncauth.stores import file
async def test():
    with contextlib.suppress(Exception):
        exec(compile("import time; time.sleep(0.001)", file.__file__, "exec"))""",
    "leaves a task": """
async def test():
    opened.append(asyncio.create_task(asyncio.sleep(60)))""",
    "leaves a task of another loop": """
def test():
    async def go(): opened.append(asyncio.create_task(asyncio.sleep(60)))
    asyncio.run(go())""",
    "leaves a thread": """
def test():
    threading.Thread(target=threading.Event().wait, daemon=True).start()""",
    "leaves a socket": """
def test():
    opened.append(socket.socket())""",
    "leaves a session to the garbage collector": """
class Circle: pass
@pytest.mark.filterwarnings("error")
async def test():
    circle = Circle()
    circle.itself, circle.session = circle, aiohttp.ClientSession()""",
}

RIGHT = {
    "blocks in a thread": """
from asyncauth.stores import file
async def test():
    work = compile("import time; time.sleep(0.001)", file.__file__, "exec")
    await asyncio.to_thread(exec, work)""",
    "blocks where there is no loop": """
from asyncauth.stores import file
def test():
    exec(compile("import time; time.sleep(0.001)", file.__file__, "exec"))""",
    "leaves what a module's fixture opened": """
@pytest.fixture(scope="module")
def link():
    with socket.socket() as it:
        yield it
def test(link): pass
def test_again(link): pass""",
    "leaves a task on purpose": """
@pytest.mark.leaves_tasks(reason="that is the test")
async def test():
    opened.append(asyncio.create_task(asyncio.sleep(60)))""",
}


def test_each_fault_is_caught(tmp_path: Path) -> None:
    """A test that blocks the loop, or leaves anything behind, fails; one that does neither passes."""
    conftest = (
        'pytest_plugins = ["harness.blocking", "harness.leftovers", "harness.sinks"]\n'
        "import harness.leftovers\n"
        "harness.leftovers._PATIENCE = 0.1\n"
    )
    tests = {name: HEAD + body for name, body in {**WRONG, **RIGHT}.items()}
    told = outcomes(tmp_path, conftest, tests, "--asyncio-mode=auto")
    assert {name for name, word in told.items() if word != "PASSED"} == set(WRONG)


def frame_of(file: Path) -> types.FrameType:
    """Return a frame of code that lies in a file."""
    names: dict[str, object] = {"look": inspect.currentframe}
    exec(compile("frame = look()", str(file), "exec"), names)  # noqa: S102 (a line of ours)
    frame = names["frame"]
    assert isinstance(frame, types.FrameType)
    return frame


TESTS = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("file", "library", "test", "by_right"),
    [
        (LIBRARY / "manager.py", True, False, False),
        (LIBRARY / "sandbox" / "server.py", True, False, True),
        (TESTS / "unit" / "test_any.py", False, True, True),
        (TESTS / "harness" / "sinks.py", False, False, True),
        (LIBRARY.parent / "asyncauth-2" / "manager.py", False, False, False),
        (LIBRARY.parent / ".venv" / "site-packages" / "tests" / "test_any.py", False, False, False),
    ],
)
def test_frames_are_told_by_their_folders(file: Path, *, library: bool, test: bool, by_right: bool) -> None:
    """Whatever the clone's folder is called, and those above it: `asyncauth` and `tests` are common names."""
    frame = frame_of(file)
    assert is_of_the_library(frame) is library
    assert is_of_a_test(frame) is test
    assert holds_secrets_by_right(frame) is by_right
