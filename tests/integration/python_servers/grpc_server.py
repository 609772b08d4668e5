"""A gRPC server behind TLS that says whether a call was authorized.

It takes a file with its key and certificates, prints its port, and runs until its stdin is closed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc


class Orders(grpc.GenericRpcHandler):
    """Answers each method with its request, and whether the call carried a token."""

    def service(self, handler_call_details: Any) -> Any:
        said = dict(handler_call_details.invocation_metadata).get("authorization", "")
        verdict = b"authorized" if said.startswith("Bearer ") else b"denied"
        answer: Callable[[bytes, Any], bytes] = lambda request, _: request + b": " + verdict  # noqa: E731
        return grpc.unary_unary_rpc_method_handler(answer)


def main() -> None:
    pem = Path(sys.argv[1]).read_bytes()
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Orders(),))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pem, pem)]))
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop(None).wait()


main()
