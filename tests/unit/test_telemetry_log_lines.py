"""Every line of the log says in one go what happened, whose token it concerns, and whether somebody must act."""

from __future__ import annotations

import ast
import logging
from typing import Any

import pytest
from errors_kit import PACKAGE

from asyncauth import errors, events
from asyncauth.telemetry.log import log

PROVIDER = "%s: "
LINES = {
    # a provider's
    "%s: logged out: %d revoked, %d not%s": (PROVIDER, "%s"),
    "%s: the token is sent in the URL (%s), which the logs of servers and proxies show. Declare a header if the API"
    " takes one (RFC 6750 section 2.3, RFC 9700 section 4.3.2)": (PROVIDER, "Declare a header"),
    "%s: the token is used without a field of its answer: %s; no action needed while requests succeed": (
        PROVIDER,
        "no action needed",
    ),
    "%r could not be renewed by its timer: %s; its callers renew it: report this bug": ("%r", "report this bug"),
    # a store's
    "%s: entry %s… is treated as absent: %s; if this repeats, do all processes have one version and its keys?": (
        "%s: entry %s…",
        "if this repeats, do all processes",
    ),
    "%s: scripts are forbidden; WATCH compares locks and entries instead; no action needed": ("%s: ", "no action"),
    # a listener's, an address', a session's: what concerns several providers names that instead
    "listener %s %s: fix it; this is said once": ("listener %s", "fix it"),
    "plain http to %s, as insecure_hosts= permits: tokens and credentials can be read on the way; no action needed in a"
    " network of your own": ("to %s", "no action needed"),
    "requests to %s carry no token: no manager serves that origin, only %s": ("requests to %s", "carry no token"),
    "%s answered %d to a request without a token: no manager serves that origin, only %s. If it is the same system,"
    " write the URL with that origin, or name this one in the provider's origins=": ("%s answered", "write the URL"),
    "the session given as http= belongs to another event loop: token requests on this one are sent without its proxy,"
    " certificates and headers; give http= a function that makes a session per event loop": (
        "the session given as http=",
        "give http= a function",
    ),
}
"""By format: what says whose it is, and what says whether to act. A line at INFO needs nobody to act."""


def formats() -> list[str]:
    """Return the format of each line that is not an event's."""
    found: list[str] = []
    for path in PACKAGE.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("_log."):
                found += [
                    each.value for each in call.args if isinstance(each, ast.Constant) and isinstance(each.value, str)
                ]
    return found


def test_each_line_is_in_the_table() -> None:
    """A new line comes with an answer to both questions."""
    assert sorted(formats()) == sorted(LINES)


@pytest.mark.parametrize("line", LINES)
def test_a_line_says_whose_it_is_and_what_to_do(line: str) -> None:
    """Whose comes first."""
    whose, act = LINES[line]
    assert line.startswith(whose) or "to %s" in line
    assert act in line


SHOP: dict[str, Any] = {"provider": "shop", "step": "login", "at": 0.0}
ACTS = (
    "fix the ",
    "look at ",
    "look for ",
    "check the ",
    "no action needed",
    "keep this process running",
    "log in again",
    "is it running",
)
"""How a line says what to do, or that nothing is to be done."""


def failed(error: str, usable_for: float | None) -> events.Event:
    return events.TokenRequestFailed(
        error=error,
        message="it failed [shop login]",
        status=None,
        upstream=False,
        retry_in=1.0,
        usable_for=usable_for,
        **SHOP,
    )


@pytest.mark.parametrize(
    "event",
    [
        *(failed(error, usable_for) for error in errors.__all__ for usable_for in (0.0, 60.0, None)),
        events.TokenRejected(fingerprint="abc", dropped=False, **SHOP),
        events.StoreFailed(trouble="redis://r:1/0: load: no connection; is it running?", **SHOP),
        events.RefreshTokenUnsaved(trouble="save: it is full", lost=True, **SHOP),
        events.RefreshTokenUnsaved(trouble="save: it is full", lost=False, **SHOP),
    ],
    ids=lambda each: f"{type(each).__name__}-{getattr(each, 'error', '')}-{getattr(each, 'usable_for', '')}",
)
def test_a_warning_says_whose_it_is_and_what_to_do(caplog: pytest.LogCaptureFixture, event: events.Event) -> None:
    """One line, which begins with provider and step, and says what to do or that nothing is to be done."""
    caplog.set_level(logging.WARNING, "asyncauth")
    log(event)
    (record,) = caplog.records
    line = record.getMessage()
    assert line.startswith("shop login: ")
    assert [words for words in ACTS if words in line], line
    assert line.isprintable()
