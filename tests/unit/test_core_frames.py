"""An error that passes the middleware leaves aiohttp's frames behind, and keeps all else."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
import yarl
from aioresponses import CallbackResult
from harness.canary import MARK, secret
from harness.crash_reports import crash_report, every_frame
from multidict import CIMultiDict, CIMultiDictProxy

from asyncauth import BearerAuth, Token, TokenManager
from asyncauth._core.frames import bare, forget_frames, forget_text
from asyncauth.testing import FakeProvider, mock_aiohttp

Make = Callable[..., TokenManager]

URL = "https://api.example.com/me"


def within(module: str, source: str) -> Any:
    """Return the function ``f`` that a module of this name would hold."""
    place = types.ModuleType(module)
    exec(source, vars(place))  # noqa: S102 (that is how a frame becomes another package's)
    return place.f


writes: Callable[[BaseException | None], None] = within(
    "aiohttp.http_writer",
    "def f(error):\n"
    "    headers_buf = b'Authorization: Bearer zqCANARY' + b'qz'\n"
    "    if error is not None: raise error\n"
    "    raise ConnectionResetError('closing')\n",
)
sends: Callable[[], None] = within(
    "asyncio.selector_events", "def f(act):\n    data = b'zqCANARY' + b'qz'\n    return act()\n"
)


def raised(act: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:
        act()
    return caught.value


def places(error: BaseException) -> list[str]:
    return [place for place, _ in every_frame(error)]


def shows(error: BaseException) -> bool:
    """Whether a frame, or Sentry's event, has the secret."""
    return MARK in crash_report(error) or any(MARK in f"{variables!r}" for _, variables in every_frame(error))


def test_the_frames_of_the_whole_chain_go() -> None:
    """Cause, context (a suppressed one, too) and what they came from lose aiohttp's and asyncio's frames."""

    def work() -> None:
        try:
            try:
                try:
                    writes(None)
                except OSError as first:
                    raise KeyError("context") from first
            except KeyError:
                writes(RuntimeError("suppressed"))
        except RuntimeError:
            raise aiohttp.ClientOSError(5, "outermost") from None

    error = raised(work)
    assert shows(error)
    forget_frames(error)
    assert not shows(error)
    assert type(error) is aiohttp.ClientOSError
    assert error.args == (5, "outermost")
    assert error.__suppress_context__
    suppressed = error.__context__
    assert isinstance(suppressed, RuntimeError)
    assert isinstance(suppressed.__context__, KeyError)
    assert isinstance(suppressed.__context__.__cause__, OSError)


def test_the_members_of_a_group_count_as_well() -> None:
    """aiohttp raises groups where each of several addresses failed (Happy Eyeballs)."""
    members = [raised(lambda: writes(OSError("no"))) for _ in range(3)]
    error = raised(lambda: sends(lambda: writes(BaseExceptionGroup("all", members))))  # type: ignore[call-arg]
    forget_frames(error)
    assert not shows(error)
    assert isinstance(error, BaseExceptionGroup)
    assert len(error.exceptions) == 3


def test_everybodys_own_frames_stay() -> None:
    """A bug in a request's body, or in a middleware, is found where it is, also between aiohttp's frames."""
    body = within("shop.orders", "def f():\n    raise ValueError('a bug')\n")
    error = raised(lambda: writes_with(body))
    forget_frames(error)
    assert places(error)[-1] == "shop.orders.f"
    assert not [place for place in places(error) if place.startswith(("aiohttp.", "asyncio."))]


writes_with: Callable[[Callable[[], object]], None] = within(
    "aiohttp.payload", "def f(act):\n    headers_buf = 'zqCANARY' + 'qz'\n    return act()\n"
)


def test_circles_and_exceptions_that_refuse_attributes() -> None:
    """An exception that is its own context does no harm, nor does one of a frozen class."""

    class Frozen(Exception):
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    error = raised(lambda: writes(Frozen()))
    other = raised(lambda: writes(ValueError()))
    other.__cause__, other.__context__ = error, other
    forget_frames(other)
    assert not shows(other)


@pytest.mark.parametrize("tries", [1, 2])
@pytest.mark.parametrize("kind", [aiohttp.ClientOSError, ValueError, asyncio.CancelledError, KeyboardInterrupt])
async def test_what_passes_the_middleware_has_no_frame_with_the_token(
    make: Make, provider: FakeProvider, kind: type[BaseException], tries: int
) -> None:
    """Whatever the class, on the first try and on the second one: the same object, and none of aiohttp's frames."""
    raising, answers = kind("it"), [200, *[401] * (tries - 1)]

    def answer(url: Any, **request: Any) -> CallbackResult:
        assert request["headers"]["Authorization"]
        if not answers:
            writes(raising)
        return CallbackResult(status=answers.pop(0))

    with mock_aiohttp() as mock:
        mock.get(URL, callback=answer, repeat=True)
        async with aiohttp.ClientSession(middlewares=(BearerAuth(make(provider)),)) as http:
            await http.get(URL)  # the API knows the token: its 401 means another one
            with pytest.raises(kind) as caught:
                await http.get(URL)
    assert caught.value is raising
    assert not shows(raising)
    assert provider.calls == tries
    assert [place for place in places(raising) if place == f"{__name__}.answer"]


@pytest.mark.leaves_tasks(reason="the loop is interrupted")
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interruption_of_a_refresh_leaves_its_frames_behind(kind: type[BaseException]) -> None:
    """What ends the program in the middle of a token request is raised out of the loop without the credentials."""

    class Interrupted(FakeProvider):
        async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
            self.tell(secret())
            raise AssertionError

        def tell(self, password: str) -> None:
            raise kind

    error = raised(lambda: asyncio.run(TokenManager(Interrupted()).token()))
    assert isinstance(error, kind)
    assert not shows(error)


def test_an_interruption_keeps_nothing_of_what_it_interrupted() -> None:
    """Neither the frames nor the error that was being handled when it came."""

    def work() -> None:
        try:
            writes(None)
        except OSError:
            raise SystemExit(3) from None

    error = bare(raised(work))
    assert (type(error), error.args) == (SystemExit, (3,))
    assert error.__context__ is None
    assert places(error) == []


def test_what_could_not_be_encoded_goes_too() -> None:
    """Without its extensions in C, aiohttp encodes all headers at once, and the error holds them."""
    error = raised(f"Authorization: Bearer {secret()} \ud800".encode)
    forget_frames(error)
    assert isinstance(error, UnicodeEncodeError)
    assert not shows(error)
    assert str(error) == "'utf-8' codec can't encode characters in position 0--1: surrogates not allowed"


def test_a_text_goes_out_of_all_that_an_error_says() -> None:
    """Arguments, attributes and what a cause says lose it; everything else stays."""
    api, ending = yarl.URL(URL), f"?key={secret('token')}"
    sent = yarl.URL(f"{URL}{ending}", encoded=True)
    info = aiohttp.RequestInfo(sent, "GET", CIMultiDictProxy(CIMultiDict()), api)
    response = aiohttp.ClientResponseError(info, (), status=400, message=f"odd answer of {sent}")
    writing = aiohttp.ClientOSError(5, f"can't write to {sent}")
    writing.__cause__ = response
    timeout = aiohttp.ConnectionTimeoutError(f"no connection to {sent}")
    other = ValueError(7, None, ("kept", 8))
    group = BaseExceptionGroup("several", [writing, timeout, other])
    forget_text(group, ending)
    assert MARK not in crash_report(group)
    assert (str(writing), str(timeout)) == (f"[Errno 5] can't write to {URL}", f"no connection to {URL}")
    assert response.request_info == aiohttp.RequestInfo(api, "GET", info.headers, api)
    assert response.message == f"odd answer of {URL}"
    assert MARK not in repr(response)
    assert other.args == (7, None, ("kept", 8))
