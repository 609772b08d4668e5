"""``asyncauth request``: one authorized request, its answer on stdout, its outcome in the exit code."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest
import trustme
from aiohttp import web
from cli_kit import Shell, credentials
from harness.canary import CANARIES

from asyncauth.sandbox import Sandbox, sandbox_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sandbox_in_thread(**CANARIES) as running:
        yield running


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], sandbox: Sandbox) -> Shell:
    shell = Shell(monkeypatch, capfdbinary)
    shell.set(**credentials(sandbox))
    return shell


def at(sandbox: Sandbox, path: str = "/api/clients", system: str = "peakly") -> tuple[str, ...]:
    """Return the arguments for a request to the sandbox."""
    url = sandbox.systems[system.replace("-", "_")].url
    return ("request", f"{url}{path}", "--as", system, "--base-url", url)


@pytest.mark.parametrize("system", ["peakly", "pago-facil"])
def test_the_body_is_printed(shell: Shell, sandbox: Sandbox, system: str) -> None:
    """The answer's body goes to stdout as it is, and nothing else does."""
    ended = shell.spawn(*at(sandbox, "/api/clients?page=2", system))
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out)["query"] == {"page": ["2"]}


def test_another_origin_than_the_tokens(shell: Shell, sandbox: Sandbox) -> None:
    """With --as the token is sent to the URL's origin, although it comes from that of --base-url."""
    url = sandbox.peakly.url.replace("127.0.0.1", "localhost")
    ended = shell.run("request", f"{url}/api/clients", "--as", "peakly", "--base-url", sandbox.peakly.url)
    assert (ended.code, ended.err) == (0, "")
    assert sandbox.peakly.counts.api_ok == 1


def test_a_body_that_is_json(shell: Shell, sandbox: Sandbox) -> None:
    """--data makes it a POST, and JSON is sent as such."""
    echo = json.loads(shell.run(*at(sandbox), "--data", '{"número": 1}').out)
    assert (echo["method"], echo["content_type"], echo["text"]) == ("POST", "application/json", '{"número": 1}')


def test_a_body_from_a_file(shell: Shell, sandbox: Sandbox, tmp_path: Path) -> None:
    """--data @file sends the file's bytes; -X and -H are sent as given."""
    file = tmp_path / "body.txt"
    file.write_bytes(b"line\n\n")
    ended = shell.run(*at(sandbox), "-d", f"@{file}", "-X", "put", "-H", "Content-Type: text/plain", "-H", "X-One:1")
    echo = json.loads(ended.out)
    assert (echo["method"], echo["content_type"], echo["text"]) == ("PUT", "text/plain", "line\n\n")
    assert echo["headers"]["X-One"] == "1"


def test_a_body_from_stdin(shell: Shell, sandbox: Sandbox) -> None:
    """--data - sends what comes on stdin."""
    assert json.loads(shell.run(*at(sandbox), "-d", "-", stdin=b"from a pipe").out)["text"] == "from a pipe"


def test_the_whole_answer_as_json(shell: Shell, sandbox: Sandbox) -> None:
    """--json prints status, headers and body, and no secret."""
    ended = shell.run(*at(sandbox), "--json")
    answer = json.loads(ended.out)
    assert (answer["status"], answer["body"]["method"]) == (200, "GET")
    assert answer["headers"]["Content-Type"].startswith("application/json")
    assert ended.has_none_of(sandbox.password, "Bearer")


def test_an_echoed_token_and_cookies_are_withheld(shell: Shell, sandbox: Sandbox) -> None:
    """A server that sends the token back does not make it appear on the screen, nor does a cookie in --json."""

    async def echo(request: web.Request) -> web.StreamResponse:
        sent = request.headers["Authorization"]
        return web.Response(text=sent, headers={"X-Echo": sent, "Set-Cookie": "session=abc"})

    for extra in ((), ("--json",)):
        sandbox.peakly.api_faults.answer(echo, times=1)
        ended = shell.run(*at(sandbox), *extra)
        assert ended.code == 0
        assert "Bearer [withheld]" in ended.out
        assert ended.has_none_of("session=abc")
    answer = json.loads(ended.out)
    assert answer["headers"]["X-Echo"] == answer["body"] == "Bearer [withheld]"


ECHOES: dict[str, Callable[[str], web.Response]] = {
    "reason": lambda token: web.Response(status=400, reason=f"no {token}"),
    "header": lambda token: web.Response(headers={"X-Echo": token.upper()}),
    "header's name": lambda token: web.Response(headers={f"X-{token}": "x"}),
    "URL": lambda token: web.Response(status=307, headers={"Location": f"/api/{token}/there"}),
    "escaped": lambda token: web.Response(text="".join(('"', *(f"\\u{ord(char):04x}" for char in token), '"'))),
    "percent": lambda token: web.Response(text="".join(f"%25{ord(char):02X}" for char in token)),
    "base64": lambda token: web.Response(text=base64.b64encode(f"user:{token}".encode()).decode()),
    "UTF-16": lambda token: web.Response(body=token.encode("utf-16-le")),
}


@pytest.mark.parametrize("extra", [(), ("--json",)], ids=["plain", "--json"])
@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_the_token_is_withheld_wherever_it_comes_back(
    shell: Shell, sandbox: Sandbox, echo: Callable[[str], web.Response], extra: tuple[str, ...]
) -> None:
    """A server that repeats the token shows no 8 characters of it on the screen, wherever and however it writes it."""
    tokens: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/there"):
            return web.Response(text="there")
        tokens.append(request.headers["Authorization"].removeprefix("Bearer "))
        return echo(tokens[0])

    sandbox.peakly.api_faults.answer(answer)
    ended = shell.run(*at(sandbox), "-L", *extra)
    (token,) = tokens
    read = urllib.parse.unquote(urllib.parse.unquote(ended.out)) + ended.out.encode().decode("unicode_escape")
    shown = (ended.out + ended.err + read).replace("\0", "").lower()
    assert not any(token[at : at + 8].lower() in shown for at in range(len(token) - 7))
    assert base64.b64encode(token[1:13].encode()).decode().lower() not in shown


def test_tokens_that_were_refused_on_the_way_are_withheld(shell: Shell, sandbox: Sandbox) -> None:
    """An API that answers each token with 401, and repeats all that it has seen, shows none of them."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers["Authorization"].removeprefix("Bearer "))
        return web.json_response({"seen": seen}, status=401)

    sandbox.peakly.api_faults.answer(answer)
    ended = shell.run(*at(sandbox))
    assert len(seen) > 1
    assert ended.has_none_of(*seen)
    assert ended.out.count("[withheld]") == len(seen)


def test_a_body_that_is_no_text(shell: Shell, sandbox: Sandbox) -> None:
    """--json shows a binary body in base64."""

    async def binary(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"\xff\x00")

    sandbox.peakly.api_faults.answer(binary)
    assert json.loads(shell.run(*at(sandbox), "--json").out)["body_base64"] == "/wA="


def test_an_error_status_ends_with_1(shell: Shell, sandbox: Sandbox) -> None:
    """A status of 400 or above ends with 1; the body is printed all the same."""
    ended = shell.run(*at(sandbox, "/api/forbidden"))
    assert (ended.code, ended.err) == (1, "asyncauth: 401 Unauthorized\n")
    assert "message" in json.loads(ended.out)


def test_a_revoked_token_is_replaced(shell: Shell, sandbox: Sandbox) -> None:
    """A 401 that the token explains costs one more token request, and the answer is 200.

    Two of them, since a token that the API has not accepted yet is sent once more.
    """
    sandbox.peakly.api_faults.unauthorized(times=2)
    assert shell.run(*at(sandbox)).code == 0
    assert sandbox.peakly.counts.token_requests == 2


def test_redirects_are_followed_on_demand(shell: Shell, sandbox: Sandbox) -> None:
    """A redirect is shown, and followed with --location only."""
    url = f"/api/redirect?to={sandbox.peakly.url}/api/there"
    shown, followed = shell.run(*at(sandbox, url), "--json"), shell.run(*at(sandbox, url), "--json", "-L")
    assert json.loads(shown.out)["status"] == 307
    assert json.loads(followed.out)["body"]["path"] == "/api/there"


def test_no_answer_ends_with_1(shell: Shell, sandbox: Sandbox) -> None:
    """An API that can't be reached, or does not answer in time, is one line and exit code 1."""
    refused = shell.run("request", "http://127.0.0.1:1/x", "--as", "peakly", "--base-url", sandbox.peakly.url)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == "asyncauth: no connection to http://127.0.0.1:1: Connection refused\n"
    late = shell.run(*at(sandbox, "/api/slow?seconds=30"), "--timeout", "0.3")
    assert (late.code, late.out) == (1, "")
    assert late.err == f"asyncauth: no answer from {sandbox.peakly.url} within 0.3 s\n"


def test_a_certificate_that_is_not_trusted(shell: Shell, sandbox: Sandbox) -> None:
    """An API whose certificate is not trusted gets no request: one line and exit code 1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # the client hangs up, and that is right
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"https://localhost:{server.server_port}"
        ended = shell.run("request", url, "--as", "peakly", "--base-url", sandbox.peakly.url)
        thread.join()
    assert (ended.code, ended.err) == (1, f"asyncauth: no connection to {url}: its TLS certificate is not trusted\n")


def test_https_where_http_was_written(shell: Shell, sandbox: Sandbox) -> None:
    """A server on this machine that only speaks TLS: the message says to write https."""

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46")  # TLS' alert "protocol_version"

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        ended = shell.run("request", url, "--as", "peakly", "--base-url", sandbox.peakly.url)
        thread.join()
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(f"asyncauth: no answer from {url}: ")
    assert ended.err.endswith("; if it is an https server, write https\n")


def test_no_token_ends_with_3(shell: Shell, sandbox: Sandbox) -> None:
    """Without a token nothing is sent to the API; the exit code is 3."""
    shell.set(PEAKLY_PASSWORD="not-the-password")
    ended = shell.spawn(*at(sandbox))
    assert (ended.code, ended.out, ended.err.count("\n")) == (3, "", 1)
    assert ended.has_none_of("not-the-password")
    assert sandbox.peakly.counts.api_requests == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("api.peakly.co/x",), "the URL must be absolute"),
        (("https://me:secret@api.peakly.co/x",), "no user and no password"),
        (("https://api.peakly.co/x", "-H", "authorization: Bearer x"), "can't set Authorization"),
        (("https://api.peakly.co/x", "-H", "nonsense"), "'Name: value'"),
        (("https://api.peakly.co/x", "-H", "X-A: 1\r\nX-B: 2"), "'Name: value'"),
        (("https://api.peakly.co/x", "-X", "G E T"), "--method"),
        (("https://api.peakly.co/x", "-d", "@/no/such/file"), "No such file"),
        (("https://api.peakly.co/x", "--environment", "qa"), "is peakly's production"),
        (("https://api.example.com/x",), "whose token"),
        (("https://api.peaky.co/x", "--as", "peakly"), "is not peakly's"),
        (("https://api.pgf.cl/x", "--as", "peakly"), "is not peakly's"),
        (("http://api.peakly.co/x", "--as", "peakly"), "use https://api.peakly.co\n"),
        (("http://api.peakly.co/x",), "use https://api.peakly.co\n"),
        (("http://shop:8080/x", "--as", "peakly"), "use https://shop:8080 (or permit it, in a network of containers"),
    ],
)
def test_wrong_usage(shell: Shell, sandbox: Sandbox, arguments: tuple[str, ...], said: str) -> None:
    """Arguments that can't be meant end with 2 and one line, before anything is sent anywhere."""
    ended = shell.run("request", *arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert said in ended.err
    assert ended.has_none_of("secret")


def test_plain_http_is_refused(shell: Shell) -> None:
    """A token is not sent by plain http to another machine: wrong usage, and the line says what to write."""
    ended = shell.run("request", "http://api.example.com/x", "--as", "peakly", "--environment", "qa")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "asyncauth: the URL is plain http to api.example.com, so a token or password would be sent unencrypted: use https://api.example.com\n"
    )
