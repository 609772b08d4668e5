"""``python -m asyncauth``: the command line, as ``asyncauth`` runs it."""

from __future__ import annotations

import sys

from asyncauth.cli.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
