"""Whether a store's files are for their owner's eyes alone. Only looks."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from asyncauth.cli.doctor.finding import Finding, fail, ok, skip, warn
from asyncauth.stores.base import is_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import TypeAlias

    Make: TypeAlias = Callable[[str, str, str], Finding]

__all__ = ["permissions"]

_SUBJECT = "store permissions"
_ENTRY = ".json"
_GROUP, _OTHERS = stat.S_IRWXG, stat.S_IRWXO


def permissions(folder: Path, *, sealed: bool) -> list[Finding]:
    """Return whether others can read the files, or put some there, and whether they are somebody else's.

    Args:
        folder: A `FileStore`'s.
        sealed: Whether its entries are encrypted.
    """
    if os.name == "nt":
        return [skip(_SUBJECT, "Windows has no such modes: check in the folder's properties who may read it")]
    modes: dict[Path, int] = {}
    strangers: list[Path] = []
    for path in sorted(path for path in folder.iterdir() if path.suffix == _ENTRY and is_key(path.stem)):
        with contextlib.suppress(FileNotFoundError):  # replaced or deleted meanwhile
            facts = path.lstat()
            modes[path] = stat.S_IMODE(facts.st_mode)
            strangers += [path] if facts.st_uid != os.geteuid() else []
    open_to_all = [path for path, mode in modes.items() if mode & _OTHERS]
    open_to_some = [path for path, mode in modes.items() if mode & _GROUP and not mode & _OTHERS]
    found = [
        _folder(folder),
        _open(fail, "every user of this machine", open_to_all, sealed=sealed),
        _open(warn, "their group", open_to_some, sealed=sealed),
        _foreign(strangers),
    ]
    wrong = [finding for finding in found if finding is not None]
    return wrong or [ok(_SUBJECT, f"only their owner can read {folder} and its tokens")]


def _open(make: Make, who: str, paths: Sequence[Path], *, sealed: bool) -> Finding | None:
    """Return that others can read these files, if there are any."""
    if not paths:
        return None
    do = f"chmod 600 {_named(paths)}"
    if not sealed:
        do += "; then have the tokens in them revoked: they may have been copied"
    return make(_SUBJECT, f"{who} can read {'encrypted ' if sealed else ''}tokens in {_told(paths)}", do)


def _foreign(paths: Sequence[Path]) -> Finding | None:
    """Return that these files are somebody else's, if there are any."""
    if not paths:
        return None
    says = f"another user, not this one ({os.geteuid()}), owns {_told(paths)}"
    return warn(_SUBJECT, says, "run this as the user whose processes use the store")


def _named(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0].parent}/*{_ENTRY}"


def _told(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{len(paths)} files, {paths[0].name} among them"


def _folder(folder: Path) -> Finding | None:
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        who = "every user of this machine" if mode & stat.S_IWOTH else "its group"
        return fail(
            _SUBJECT, f"{who} can create files in {folder} ({mode:04o}), and so plant a token", f"chmod 700 {folder}"
        )
    if mode & (stat.S_IROTH | stat.S_IRGRP):
        return warn(_SUBJECT, f"others can list {folder} ({mode:04o})", f"chmod 700 {folder}")
    return None
