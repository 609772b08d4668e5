"""Events as lines of the standard library's ``logging``, each with the whole event in ``record.asyncauth``."""

from __future__ import annotations

import logging

from asyncauth import events
from asyncauth._base.durations import in_seconds, in_words

__all__ = ["log"]

_REFRESH = logging.getLogger("asyncauth.refresh")
_MANAGER = logging.getLogger("asyncauth.manager")
_STORE = logging.getLogger("asyncauth.store")


_STARTED = {
    "empty": "there is no token yet",
    "fresh": "refresh() was called",
    "stale": "renewal is due",
    "spent": "the token has expired, or the API answered 401 to it",
}
"""Why a refresh began, by what the token was."""
_TO_DO = {
    "AuthError": "fix the code that it names",
    "CredentialsRejected": "fix the credential",
    "ConfigurationError": "fix the configuration",
    "InsecureTransport": "fix the configuration",
    "StoreError": "look at the store",
    "LockTimeout": "look for a process that hangs",
    "InvalidTokenResponse": "if this persists, check the endpoint's address and the provider's settings",
}
"""What somebody should do about an error, by its class, whether or not a token still serves."""
_PASSES = ("no action needed", "if this persists, look at the token endpoint")
"""What to do about any other: while a token is usable, and without one."""


def log(event: events.Event) -> None:
    """Write an event's line: whose token, what happened, what follows, and what to do if there is anything.

    - ``asyncauth.refresh``: obtained tokens (``DEBUG``) and failed token requests (``WARNING``).
    - ``asyncauth.manager``: the API's 401s (``INFO``; ``WARNING`` if new tokens get one as well).
    - ``asyncauth.store``: the store's trouble (``WARNING``; ``ERROR`` if a refresh token is at risk).
    """
    logger, level, text = _line(event)
    if logger.isEnabledFor(level):
        logger.log(level, "%s: %s", _whose(event), text, extra={"asyncauth": event.as_dict()})


def _line(event: events.Event) -> tuple[logging.Logger, int, str]:  # noqa: C901, PLR0911, PLR0912 (a table)
    """Return where an event's line goes, its level, and its text."""
    match event:
        case events.RefreshStarted():
            return _REFRESH, logging.DEBUG, f"refresh started: {_STARTED[event.state]}"
        case events.RefreshSucceeded():
            return _REFRESH, logging.DEBUG, f"obtained token {event.fingerprint}, usable {_until(event.usable_for)}"
        case events.TokenAdopted():
            text = f"took token {event.fingerprint} from the store, usable {_until(event.usable_for)}"
            return _REFRESH, logging.DEBUG, text
        case events.TokenRequestFailed():
            # The manager of an earlier step has warned already; it would be once per caller here.
            return _REFRESH, logging.DEBUG if event.upstream else logging.WARNING, _failure(event)
        case events.RefreshFailed():
            return (
                _REFRESH,
                logging.DEBUG,
                f"refresh ended without a token after {in_seconds(event.seconds)}: {event.error}",
            )
        case events.TokenRejected(dropped=True):
            text = f"the API answered 401 to token {event.fingerprint}: it is dropped, and a new one is requested"
            return _MANAGER, logging.INFO, text
        case events.TokenRejected():
            text = (
                f"the API answered 401 to the new token {event.fingerprint} as well: it stays in use; "
                "check the account's permissions and the request's address"
            )
            return _MANAGER, logging.WARNING, text
        case events.CoolDown():
            return _MANAGER, logging.INFO, _cool_down(event)
        case events.RequestWaited():
            got = "a token" if event.error is None else event.error
            return _MANAGER, logging.DEBUG, f"a caller waited {event.seconds:.3f} s and got {got}"
        case events.StoreFailed():
            return _STORE, logging.WARNING, f"the token store fails, going on without it: {event.trouble}"
        case events.StoreRecovered():
            return _STORE, logging.INFO, "the token store works again"
        case events.RefreshTokenUnsaved(lost=True):
            text = f"a refresh token is lost, since the store did not save it; log in again: {event.trouble}"
            return _STORE, logging.ERROR, text
        case events.RefreshTokenUnsaved():
            text = (
                f"the store did not save a new refresh token; keep this process running until it does: {event.trouble}"
            )
            return _STORE, logging.ERROR, text
        case _:
            return _MANAGER, logging.DEBUG, repr(event)


def _whose(event: events.Event) -> str:
    """Return whose token it is: ``pago-facil loginToken of acme``."""
    tenant = "" if event.tenant is None else f" of {event.tenant_name}"
    return f"{_step(event)}{tenant}"


def _step(event: events.Event) -> str:
    return event.provider if event.step is None else f"{event.provider} {event.step}"


def _until(usable_for: float | None) -> str:
    return "until the API answers 401 to it" if usable_for is None else f"for {in_words(usable_for)}"


def _failure(event: events.TokenRequestFailed) -> str:
    """Return what failed, whom it concerns, when the next try comes, and what to do."""
    what = "no token from an earlier step" if event.upstream else "token request failed"
    place = f" [{_step(event)}"  # the line begins with it
    message = event.message.replace(f"{place}, ", " [", 1).replace(f"{place}]", "", 1)
    to_do = _TO_DO.get(event.error) or _PASSES[event.usable_for == 0]
    parts = (_consequence(event), f"next try in {in_seconds(event.retry_in)}", to_do)
    return f"{what}: {event.error}: {message} ({'; '.join(parts)})"


def _consequence(event: events.TokenRequestFailed) -> str:
    """Return whether requests still have a token, and how many callers wait for one."""
    if event.usable_for != 0:
        return f"the current token is usable {_until(event.usable_for)}"
    if event.waiting_for is None:
        return "there is no usable token"
    who = "1 caller has" if event.waiting == 1 else f"{event.waiting} callers have"
    return f"there is no usable token; {who} waited for {in_seconds(event.waiting_for)}"


def _cool_down(event: events.CoolDown) -> str:
    what = {
        "credentials": "the credential was rejected: unless it changes, it is not sent again",
        "retry_after": "the server asked for a pause: no token request is made",
        "refusals": "new tokens get a 401 as well: a 401 causes no token request",
    }
    return f"{what[event.cause]} for {in_seconds(event.seconds)}"
