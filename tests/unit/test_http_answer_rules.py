"""What a user says of an API's answers."""

from __future__ import annotations

from typing import Any

import pytest

from asyncauth import BearerAuth, ConfigurationError, ManagerPool, TokenManager
from asyncauth._http.answer_rules import BUILT_IN, AnswerRules
from asyncauth.testing import FakeProvider

METHODS = ("GET", "HEAD", "OPTIONS", "TRACE", "POST", "PUT", "PATCH", "DELETE", "QUERY")


@pytest.mark.parametrize(
    ("repeat", "methods"), [("all", METHODS), ("safe", ("GET", "HEAD", "OPTIONS", "TRACE")), ("none", ())]
)
def test_which_requests_may_be_sent_again(repeat: Any, methods: tuple[str, ...]) -> None:
    """By their method."""
    assert tuple(filter(AnswerRules(repeat=repeat).allows, METHODS)) == methods


@pytest.mark.parametrize("verdict", [True, False, None])
async def test_a_function_decides(verdict: bool | None) -> None:  # noqa: FBT001 (pytest's parameter)
    """A plain or an async one."""

    async def later(_: Any) -> bool | None:
        return verdict

    assert await AnswerRules(lambda _: verdict).verdict(None, 403) is verdict
    assert await AnswerRules(later).verdict(None, 403) is verdict


async def test_nobody_is_asked() -> None:
    """Without a function, and of a WebSocket, whose body nobody could wait for."""

    def never(_: Any) -> bool:
        raise AssertionError

    assert await BUILT_IN.verdict(None, 403) is None
    assert await AnswerRules(never).verdict(None, 101) is None


async def test_a_function_that_returns_something_else() -> None:
    """Another value, such as the response's text, is an error that says so."""

    def wrong(_: Any) -> Any:
        return "yes"

    with pytest.raises(ConfigurationError, match="must return True, False or None, not str"):
        await AnswerRules(wrong).verdict(None, 403)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"refused": 403}, "refused= takes a function"), ({"repeat": "never"}, "repeat= takes 'all', 'safe' or 'none'")],
)
def test_what_cannot_work_is_refused_at_once(arguments: Any, words: str) -> None:
    """When the middleware is made, a tenant's too."""
    pool: ManagerPool[str] = ManagerPool(lambda _: FakeProvider())
    with pytest.raises(ConfigurationError, match=words):
        BearerAuth(TokenManager(FakeProvider()), **arguments)
    with pytest.raises(ConfigurationError, match=words):
        pool.auth("acme", **arguments)


def test_without_arguments_nothing_is_made() -> None:
    """A pool makes a middleware per request."""
    assert AnswerRules.of(None, "all") is BUILT_IN
    assert AnswerRules.of(None, "safe") == AnswerRules(repeat="safe")
