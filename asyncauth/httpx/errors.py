"""The library's errors as httpx's errors, so that code for httpx's errors handles them, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpx

if TYPE_CHECKING:
    from asyncauth.errors import AuthError

__all__ = ["as_httpx"]


def as_httpx(error: AuthError) -> AuthError:
    """Return an error that code for httpx's errors handles, too."""
    if isinstance(error, httpx.RequestError):  # raised by a wrapped transport of the same kind
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
    """Return the pickled form of such an error: task queues and process pools pickle errors."""
    kind: type[AuthError] = type(error).__bases__[0]
    plain = kind.__new__(kind, *error.args)
    plain.args = error.args
    # Without the request, whose headers may hold the caller's secrets.
    plain.__dict__.update({name: value for name, value in error.__dict__.items() if name != "_request"})
    return as_httpx, (plain,)


_KINDS: Final[dict[type[AuthError], type[AuthError]]] = {}
"""Maps an error class to its subclass that is also httpx's."""
