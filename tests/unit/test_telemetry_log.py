"""A line of the log says whose token it is, what happened, what follows, and what to do."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from asyncauth import events
from asyncauth.telemetry.log import log

FAILED: dict[str, Any] = {
    "error": "TokenEndpointUnavailable",
    "message": "the server can't answer now [shop login, https://shop.example/login, status 503]: try again later",
    "status": 503,
    "upstream": False,
    "retry_in": 0.25,
    "usable_for": 0.0,
}
REJECTED: dict[str, Any] = FAILED | {
    "error": "CredentialsRejected",
    "message": "the server rejected the password [shop login]: check it",
}
PERSISTS = "if this persists, look at the token endpoint"


def line(caplog: pytest.LogCaptureFixture, event: events.Event) -> str:
    caplog.set_level(logging.DEBUG, "asyncauth")
    log(event)
    (record,) = caplog.records
    return f"{record.levelname} {record.getMessage()}"


def failed(**fields: Any) -> events.TokenRequestFailed:
    return events.TokenRequestFailed(provider="shop", step="login", at=0.0, **FAILED | fields)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"usable_for": 0.8}, "the current token is usable for 0.8 s; next try in 0.2 s; no action needed"),
        ({"usable_for": 241_920.0}, "the current token is usable for 2.8 d; next try in 0.2 s; no action needed"),
        (
            {"usable_for": None},
            "the current token is usable until the API answers 401 to it; next try in 0.2 s; no action needed",
        ),
        ({}, f"there is no usable token; next try in 0.2 s; {PERSISTS}"),
        (
            {"waiting": 1, "waiting_for": 2.0},
            f"there is no usable token; 1 caller has waited for 2 s; next try in 0.2 s; {PERSISTS}",
        ),
        (
            {"waiting": 3, "waiting_for": 0.6},
            f"there is no usable token; 3 callers have waited for 0.6 s; next try in 0.2 s; {PERSISTS}",
        ),
    ],
)
def test_a_failed_token_request_says_whom_it_concerns(
    caplog: pytest.LogCaptureFixture, fields: dict[str, Any], shown: str
) -> None:
    """Whether requests have a token, how many wait and for how long: 0.8 s stays 0.8 s. The step is named once."""
    assert line(caplog, failed(**fields)) == (
        "WARNING shop login: token request failed: TokenEndpointUnavailable: "
        f"the server can't answer now [https://shop.example/login, status 503]: try again later ({shown})"
    )


@pytest.mark.parametrize(
    ("error", "usable_for", "to_do"),
    [
        ("CredentialsRejected", 0.0, "fix the credential"),
        ("CredentialsRejected", 60.0, "fix the credential"),
        ("InsecureTransport", 0.0, "fix the configuration"),
        ("ConfigurationError", 60.0, "fix the configuration"),
        ("InvalidTokenResponse", 0.0, "if this persists, check the endpoint's address and the provider's settings"),
        ("TokenEndpointUnavailable", 60.0, "no action needed"),
        ("SomebodysError", 60.0, "no action needed"),
        ("SomebodysError", 0.0, PERSISTS),
        ("AuthError", 60.0, "fix the code that it names"),
        ("StoreError", 0.0, "look at the store"),
        ("LockTimeout", 0.0, "look for a process that hangs"),
    ],
)
def test_a_failed_token_request_says_what_to_do(
    caplog: pytest.LogCaptureFixture, error: str, usable_for: float, to_do: str
) -> None:
    """What somebody has to fix is said whether or not a token still serves; a passing outage needs nobody."""
    assert line(caplog, failed(error=error, usable_for=usable_for)).endswith(f"; {to_do})")


def test_a_later_step_repeats_an_earlier_one_s_failure_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    """The line names both steps: the one that needs a token, and the one whose request failed."""
    event = events.TokenRequestFailed(provider="shop", step="exchange", at=0.0, **REJECTED | {"upstream": True})
    assert line(caplog, event).startswith(
        "DEBUG shop exchange: no token from an earlier step: CredentialsRejected: "
        "the server rejected the password [shop login]: check it ("
    )


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("empty", "there is no token yet"),
        ("fresh", "refresh() was called"),
        ("stale", "renewal is due"),
        ("spent", "the token has expired, or the API answered 401 to it"),
    ],
)
def test_a_refresh_says_why_it_began(caplog: pytest.LogCaptureFixture, state: Any, why: str) -> None:
    """Each state of a token is a reason of its own."""
    assert line(caplog, events.RefreshStarted(provider="shop", at=0.0, state=state)) == (
        f"DEBUG shop: refresh started: {why}"
    )


@pytest.mark.parametrize(
    ("cause", "shown"),
    [
        ("credentials", "the credential was rejected: unless it changes, it is not sent again for 60 s"),
        ("retry_after", "the server asked for a pause: no token request is made for 60 s"),
        ("refusals", "new tokens get a 401 as well: a 401 causes no token request for 60 s"),
    ],
)
def test_a_cool_down_says_what_is_not_done_meanwhile(caplog: pytest.LogCaptureFixture, cause: Any, shown: str) -> None:
    """Three causes, three consequences."""
    event = events.CoolDown(provider="shop", tenant="acme", at=0.0, cause=cause, seconds=60.0)
    assert line(caplog, event) == f"INFO shop of acme: {shown}"


def test_a_level_that_is_off_is_not_written(caplog: pytest.LogCaptureFixture) -> None:
    """A program that turns a logger's level up gets no line below it."""
    caplog.set_level(logging.ERROR, "asyncauth.refresh")
    log(failed())
    assert not caplog.records
