"""A provider or manager of the user's own, named as ``module:attribute``."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import operator
import os
import sys
import traceback
from collections.abc import Awaitable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, cast

from asyncauth.cli.outcome import Problem
from asyncauth.errors import AuthError
from asyncauth.manager import TokenManager
from asyncauth.pool import ManagerPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncauth.provider import Provider

__all__ = ["load"]

_PYTHONS = {
    __file__,
    importlib.__file__,
    os.__file__,
    "<frozen os>",
    "<frozen importlib._bootstrap>",
    "<frozen importlib._bootstrap_external>",
}
"""Files whose lines say nothing of what is wrong with the user's module."""


def load(text: str) -> Provider | TokenManager:
    """Return what an attribute of a module is: a provider, a manager, or what a function without arguments makes.

    The module is looked for in the current folder, too, as uvicorn does. It is the user's own code, and it is run.

    Args:
        text: ``module:attribute``; the attribute may have dots.

    Raises:
        Problem: There is no such thing, or it raises. An unknown error's text is not shown: it may hold a secret.
    """
    name, _, attribute = text.partition(":")
    if name.endswith(".py"):
        raise Problem(
            f"{text!r} names a file: write the module, {name.removesuffix('.py').replace('/', '.')}:{attribute}"
        )
    if not all(part.isidentifier() for part in (*name.split("."), *attribute.split("."))):
        raise Problem(f"{text!r} is not module:attribute, such as shop:peakly")
    found = _attribute(_module(name), name, attribute)
    if isinstance(found, type):
        raise Problem(f"{text} is a class: name an object, or a function that makes one")
    if callable(found) and not _own(lambda: hasattr(found, "fetch"), text):
        found = _made(cast("Callable[[], object]", found), f"{text}()")
    if isinstance(found, Awaitable):
        if isinstance(found, CoroutineType):
            found.close()  # nobody will await it
        raise Problem(f"{text} is async: name a plain function, or the object itself")
    if isinstance(found, ManagerPool):
        raise Problem(f"{text} is a ManagerPool: name a function that returns the manager of one tenant")
    return cast("Provider | TokenManager", found)  # whatever else it is, TokenManager says what it lacks


def _made(function: Callable[[], object], what: str) -> object:
    try:
        return _own(function, what)
    except ModuleNotFoundError as error:
        missing = error.name
    raise Problem(f"{what} can't be loaded: it needs {missing}, which is not installed")


def _module(name: str) -> object:
    here = os.getcwd()  # noqa: PTH109 (sys.path takes texts)
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return _own(lambda: importlib.import_module(name), name)
    except ModuleNotFoundError as error:
        missing = error.name or name
    if name == missing or name.startswith(f"{missing}."):
        raise Problem(f"there is no module {missing}, neither installed nor in {here}")
    raise Problem(f"{name} can't be imported: it needs {missing}, which is not installed")


def _attribute(module: object, name: str, attribute: str) -> object:
    with contextlib.suppress(AttributeError):
        return _own(lambda: operator.attrgetter(attribute)(module), f"{name}:{attribute}", AttributeError)
    usable = [
        each
        for each, value in vars(module).items()
        if not each.startswith("_") and (isinstance(value, TokenManager) or _is_provider(value))
    ]
    has = f"; it has {', '.join(sorted(usable))}" if usable else ""
    raise Problem(f"{name} has no attribute {attribute}{has}")


def _is_provider(value: object) -> bool:
    return (
        not isinstance(value, type)
        and hasattr(type(value), "fetch")
        and inspect.getattr_static(value, "name", None) is not None  # a property of anybody's is not run
    )


def _own(call: Callable[[], Any], what: str, *expected: type[Exception]) -> Any:
    """Return what the user's code returns.

    Args:
        call: Runs it.
        what: What it is called.
        expected: What the caller handles besides a `ModuleNotFoundError`.

    Raises:
        Problem: It raised something: which class, and where.
        ModuleNotFoundError: It needs a module that is missing.
    """
    passed: tuple[type[BaseException], ...] = (KeyboardInterrupt, ModuleNotFoundError, *expected)
    try:
        return call()
    except passed:
        raise
    except AuthError as error:  # the library's own, whose texts hold no secret
        said = str(error)
    except BaseException as error:  # noqa: BLE001 (anybody's code raises anything)
        said = _said(error)
    # Outside of the clause: a context would keep frames that may hold credentials.
    raise Problem(f"{what} can't be loaded: {said}")


def _said(error: BaseException) -> str:
    """Return what was raised and where, without its text."""
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = [(each.filename, each.lineno) for each in traceback.extract_tb(error.__traceback__)]
    own = [each for each in own if each[0] not in _PYTHONS]
    if isinstance(error, SyntaxError) and error.filename is not None:
        own.append((error.filename, error.lineno))
    place = " at {}:{}".format(*own[-1]) if own else ""
    if isinstance(error, KeyError) and codes[-1] is type(os.environ).__getitem__.__code__:
        return f"the environment variable {error.args[0]} is not set{place}"
    return f"{type(error).__name__}{place}"
