"""What other people's code raises, as errors of ours."""

from __future__ import annotations

import json

import aiohttp
import pytest
from harness.canary import MARK

from asyncauth import AuthError, CredentialsRejected, TokenEndpointUnavailable
from asyncauth._core.user_code import sanitize
from asyncauth._http.trouble import LATE


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (aiohttp.ClientError(MARK), "no answer was received (ClientError)"),
        (OSError(MARK), "no answer was received (OSError)"),
        (TimeoutError(MARK), LATE.says),
        (ConnectionResetError(), "the connection broke before the answer came (ConnectionResetError)"),
    ],
)
def test_network_trouble_is_transient(error: Exception, why: str) -> None:
    """Its cause is named, as that of the library's own token requests."""
    found = sanitize(error, "the thing")
    assert type(found) is TokenEndpointUnavailable
    assert found.message == f"the thing failed: {why}"
    assert found.advice


def test_error_of_ours_stays_what_it_is() -> None:
    """An AuthError says itself what it is; its twin has no chain."""
    error = CredentialsRejected("no", status=401)
    found = sanitize(error, "the thing")
    assert found is not error
    assert (type(found), vars(found)) == (type(error), vars(error))


def test_anything_else_is_a_fault_with_its_place() -> None:
    """Class and innermost place, not the text; no place where there is none."""
    assert str(sanitize(KeyError(MARK), "the thing")) == "the thing raised KeyError: look at that code"

    def inner() -> None:
        raise KeyError(MARK)

    with pytest.raises(KeyError) as caught:
        inner()
    found = sanitize(caught.value, "the thing")
    assert type(found) is AuthError
    assert "test_core_user_code.py:" in str(found)
    assert MARK not in str(found)


def test_the_place_is_whose_call_it_was() -> None:
    """For an error that the standard library raises, the innermost place outside of it is named: the place to fix."""
    with pytest.raises(ValueError, match="line 1") as caught:
        json.loads(MARK)
    found = str(sanitize(caught.value, "the thing"))
    assert "test_core_user_code.py:" in found
    assert "json" not in found.replace("JSON", "")
