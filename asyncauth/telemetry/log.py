"""Events as lines of the standard library's ``logging``, each with the whole event in ``record.asyncauth``."""

from __future__ import annotations

import logging

from asyncauth import events
from asyncauth._base.durations import in_seconds

__all__ = ["log"]

_REFRESH = logging.getLogger("asyncauth.refresh")
_MANAGER = logging.getLogger("asyncauth.manager")
_STORE = logging.getLogger("asyncauth.store")


def log(event: events.Event) -> None:
    """Write an event's line.

    ``asyncauth.refresh`` has what is obtained (``DEBUG``) and what fails (``WARNING``), ``asyncauth.manager`` what
    the API refuses (``INFO``, ``WARNING`` where fresh tokens are refused as well), ``asyncauth.store`` the store's
    trouble (``WARNING``; ``ERROR`` where a refresh token is at risk).
    """
    logger, level, text = _line(event)
    if logger.isEnabledFor(level):
        logger.log(level, "%s: %s", _whose(event), text, extra={"asyncauth": event.as_dict()})


def _line(event: events.Event) -> tuple[logging.Logger, int, str]:  # noqa: C901, PLR0911, PLR0912 (a table)
    """Return where an event's line goes, its level, and its text."""
    match event:
        case events.RefreshStarted():
            return _REFRESH, logging.DEBUG, f"refresh started: the token is {event.state}"
        case events.RefreshSucceeded():
            return _REFRESH, logging.DEBUG, f"obtained token {event.fingerprint}, {_usable(event.usable_for)}"
        case events.TokenAdopted():
            return _REFRESH, logging.DEBUG, f"adopted token {event.fingerprint}, {_usable(event.usable_for)}"
        case events.TokenRequestFailed():
            # A manager further upstream has warned already; it would be once a caller here.
            level = logging.DEBUG if event.upstream else logging.WARNING
            left = "there is no usable token" if event.usable_for == 0 else f"the token is {_usable(event.usable_for)}"
            next_try = f"next try in {in_seconds(event.retry_in)}"
            text = f"no new token: {event.error}: {event.message} ({left}; {_waiting(event)}{next_try})"
            return _REFRESH, level, text
        case events.RefreshFailed():
            return (
                _REFRESH,
                logging.DEBUG,
                f"refresh ended without a token after {in_seconds(event.seconds)}: {event.error}",
            )
        case events.TokenRejected(dropped=True):
            return _MANAGER, logging.INFO, f"the API refused token {event.fingerprint}; it is dropped"
        case events.TokenRejected():
            return _MANAGER, logging.WARNING, f"the API refused the fresh token {event.fingerprint} as well; it stays"
        case events.CoolDown():
            return _MANAGER, logging.INFO, _cool_down(event)
        case events.RequestWaited():
            got = "a token" if event.error is None else event.error
            return _MANAGER, logging.DEBUG, f"a caller waited {event.seconds:.3f} s and got {got}"
        case events.StoreFailed():
            return _STORE, logging.WARNING, f"the token store fails, going on without it: {event.trouble}"
        case events.StoreRecovered():
            return _STORE, logging.INFO, "the token store is back"
        case events.RefreshTokenUnsaved(lost=True):
            return _STORE, logging.ERROR, f"a refresh token is lost, for it could not be saved: {event.trouble}"
        case events.RefreshTokenUnsaved():
            text = f"a new refresh token can't be saved, and is tried again in the background: {event.trouble}"
            return _STORE, logging.ERROR, text
        case _:
            return _MANAGER, logging.DEBUG, repr(event)


def _whose(event: events.Event) -> str:
    """Return whose token it is: ``pago-facil loginToken of acme``."""
    step = "" if event.step is None else f" {event.step}"
    tenant = "" if event.tenant is None else f" of {event.tenant_name}"
    return f"{event.provider}{step}{tenant}"


def _usable(seconds: float | None) -> str:
    return "good until it is refused" if seconds is None else f"good for another {in_seconds(seconds)}"


def _waiting(event: events.TokenRequestFailed) -> str:
    """Return how many callers wait, and for how long; nothing if nobody does."""
    if event.waiting_for is None:
        return ""
    who = "a caller waits" if event.waiting == 1 else f"{event.waiting} callers wait"
    return f"{who}, for {in_seconds(event.waiting_for)} by now; "


def _cool_down(event: events.CoolDown) -> str:
    what = {
        "credentials": "the credential was refused: it is not sent again",
        "retry_after": "the server asks for a pause: nothing is asked of it",
        "refusals": "fresh tokens are refused: refusals change nothing",
    }
    return f"{what[event.cause]} for {in_seconds(event.seconds)}"
