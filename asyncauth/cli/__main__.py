"""The ``asyncauth`` command, ``python -m asyncauth`` and ``python -m asyncauth.cli``."""

from __future__ import annotations

import sys

_FROM_THE_EXTRA = frozenset({"typer", "rich", "click", "shellingham"})


def main() -> int:
    """Run the command line; return its exit code.

    Without the extra ``cli`` this says so in one line and returns 1: the console script exists either way.
    """
    try:
        return _run()
    except KeyboardInterrupt:  # before a command has begun: its imports take a while
        return 130


def _run() -> int:
    try:
        from asyncauth.cli.app import run  # noqa: PLC0415 (its imports may be missing)

        return run()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _FROM_THE_EXTRA:
            raise
        sys.stderr.write(
            f"asyncauth: the command line needs {missing}, which is not installed: pip install 'asyncauth[cli]'\n"
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
