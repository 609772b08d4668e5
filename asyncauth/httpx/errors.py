"""Errors of this library as httpx's: code that handles httpx's errors handles these too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpx

if TYPE_CHECKING:
    from asyncauth.errors import AuthError

__all__ = ["as_httpx"]


def as_httpx(error: AuthError) -> AuthError:
    """Return an error that code which handles httpx's errors handles, too."""
    if isinstance(error, httpx.RequestError):  # of a transport of this kind further inside
        return error
    kind = type(error)
    ours = _KINDS.get(kind)
    if ours is None:
        base = httpx.TransportError if kind.transient else httpx.RequestError
        names = {"__module__": kind.__module__, "__doc__": kind.__doc__, "_request": None, "__reduce__": _reduced}
        ours = _KINDS[kind] = type(kind.__name__, (kind, base), names)
    twin = ours.__new__(ours, *error.args)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    return twin


def _reduced(error: AuthError) -> tuple[Any, ...]:
    """Return what a pickle keeps of such an error: queues of tasks and pools of processes carry errors so."""
    kind: type[AuthError] = type(error).__bases__[0]
    plain = kind.__new__(kind, *error.args)
    plain.args = error.args
    # Not the request, whose headers may hold the caller's secrets.
    plain.__dict__.update({name: value for name, value in error.__dict__.items() if name != "_request"})
    return as_httpx, (plain,)


_KINDS: Final[dict[type[AuthError], type[AuthError]]] = {}
"""By class: the class of its errors that are httpx's as well."""
