"""The tree of errors: one root, safe texts, twins without a chain."""

from __future__ import annotations

import inspect
import pickle

import aiohttp
import pytest

from asyncauth import errors
from asyncauth.errors import AuthError, CredentialsRejected, LockTimeout, StoreError, TokenEndpointUnavailable

CLASSES: list[type[AuthError]] = [
    each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, AuthError)
]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_an_auth_error_and_a_client_error(kind: type[Exception]) -> None:
    """Code that handles what an aiohttp session can raise handles these too."""
    assert issubclass(kind, AuthError)
    assert issubclass(kind, aiohttp.ClientError)
    assert kind.__name__ in errors.__all__


def test_only_some_errors_can_be_mended_by_a_retry() -> None:
    """``transient`` says whether a retry with the same arguments can succeed."""
    assert {kind.__name__ for kind in CLASSES if kind.transient} == {
        "TokenEndpointUnavailable",
        "StoreError",
        "LockTimeout",
    }
    assert issubclass(LockTimeout, StoreError)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (AuthError("no"), "no"),
        (AuthError(), ""),
        (AuthError("no", advice="do"), "no: do"),
        (AuthError(advice="do"), "do"),
        (AuthError("no", provider="p"), "no [p]"),
        (AuthError("no", step="s"), "no [s]"),
        (AuthError("no", provider="p", step="s"), "no [p s]"),
        (AuthError("no", endpoint="https://e.example/t"), "no [https://e.example/t]"),
        (AuthError("no", status=500), "no [status 500]"),
        (AuthError("no", provider="p", step="s", endpoint="e", status=0), "no [p s, e, status 0]"),
        (AuthError("no", error="invalid_grant"), 'no; the server says "invalid_grant"'),
        (AuthError("no", error="a", error_description="b"), 'no; the server says "a: b"'),
        (AuthError("no", provider="p", error_description="b"), 'no [p]; the server says "b"'),
        (AuthError("no", advice="do", provider="p", error="a"), 'no [p]; the server says "a": do'),
    ],
)
def test_text_says_what_where_why_and_what_to_do(error: AuthError, text: str) -> None:
    """The known parts in one order: what happened, where, what the server said, what to do."""
    assert str(error) == text


@pytest.mark.parametrize("kind", CLASSES)
def test_twin_has_all_but_the_chain(kind: type[AuthError]) -> None:
    """again() is a new error with the same class, text and fields, and nothing of how it came about."""
    with pytest.raises(AuthError) as caught:  # noqa: PT012
        try:
            raise KeyError("cause")  # noqa: TRY301
        except KeyError as cause:
            raise kind("no", provider="p", status=400, retry_after=5.0) from cause
    error = caught.value
    error.upstream = True
    twin = error.again()
    assert twin is not error
    assert type(twin) is kind
    assert (str(twin), twin.args, vars(twin)) == (str(error), error.args, vars(error))
    assert (twin.__cause__, twin.__context__, twin.__traceback__) == (None, None, None)
    twin.retry_after = 1.0
    assert error.retry_after == 5.0


def test_twin_of_a_users_own_class() -> None:
    """A subclass with a constructor of its own has twins too."""

    class Mine(TokenEndpointUnavailable):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")
            self.sum = one + two

    twin = Mine(1, 2).again()
    assert (str(twin), twin.sum) == ("1 and 2", 3)


def test_errors_travel_between_processes() -> None:
    """An error survives pickling, with its fields: workers send them."""
    error = CredentialsRejected("no", provider="p", status=401)
    error.credential, error.may_change = "digest", True
    twin = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(twin), str(twin), vars(twin)) == (type(error), str(error), vars(error))
