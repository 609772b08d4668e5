"""A process without an event loop that is forked while another thread of it waits for a token.

``python forking_blocking_process.py URL FOLDER``. What was sent, the token server knows.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from forking_process import PATIENCE, call

from asyncauth import RefreshGrant, TokenManager
from asyncauth.stores import FileStore


def main(url: str, folder: str) -> None:
    grant = RefreshGrant(token_url=f"{url}/token", refresh_token="refresh-0", client_id="me", account="me")
    manager = TokenManager(grant, store=FileStore(folder))
    manager.blocking.token()
    asking = threading.Thread(target=manager.blocking.refresh)
    asking.start()
    call(f"{url}/arrived/2")
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)
        call(f"{url}/go")
        assert manager.blocking.token().value == "access-1"  # the parent's, which is fresh
        manager.blocking.refresh()
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    asking.join(PATIENCE)
    manager.blocking.refresh()  # takes over what the child has obtained
    assert threading.active_count() == 1
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(*sys.argv[1:])
