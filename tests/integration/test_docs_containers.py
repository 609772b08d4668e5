"""docs/howto/containers.md: its Compose file's services run as plain processes, and do what the page says."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from docs_kit import DOCS, blocks_of, commands_of
from docs_world import NAME_SERVICE
from examples_kit import wait_for
from redis_kit import RedisServer, free_port, needs_redis, redis_server

pytestmark = [
    pytest.mark.fleet,
    needs_redis,
    pytest.mark.skipif(sys.platform == "win32", reason="the page shows a POSIX shell"),
]

PAGE = blocks_of((DOCS / "howto" / "containers.md").read_text(encoding="utf-8"))
TYPED = [command for block in PAGE if block.language == "console" for command, _ in commands_of(block)]
FILES = {block.caption: block.text for block in PAGE if block.caption}
COMPOSE: dict[str, Any] = yaml.safe_load(FILES["compose.yaml"])
SERVICES: dict[str, Any] = COMPOSE["services"]
PROBES: dict[str, Any] = yaml.safe_load(FILES["deployment.yaml, of the container"])
SECRET = "/run/secrets/peakly_password"


def get(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 (loopback)
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@attrs.define(eq=False)
class Container:
    """A service of the Compose file as a process, on a port that is free.

    Attributes:
        service: Its part of the Compose file.
        inside: The port that it has in its container.
        folder: Its working directory.
        variables: The machine's environment variables.
        port: The port that it has here.
    """

    service: dict[str, Any]
    inside: int
    folder: Path
    variables: dict[str, str]
    port: int = attrs.field(factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = shlex.split(self._here(self.service["command"]))
        python = [sys.executable, *([] if words[0] == "python" else ["-m", words[0]])]
        environment = {**self.variables, **self.service.get("environment", {})}
        for name, value in environment.items():
            environment[name] = str(value).replace(SECRET, str(self.folder / "peakly_password.txt"))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*python, *words[1:]], cwd=self.folder, env=environment, stdout=log, stderr=log
            )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_healthy(self) -> bool:
        """What the Compose file's check finds, as Docker runs it."""
        assert self._process is not None
        assert self._process.poll() is None, self.text
        command = self._here(self.service["healthcheck"]["test"])
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(["/bin/sh", "-c", command], env={"PATH": path}, capture_output=True, check=False)
        return done.returncode == 0

    @property
    def text(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        """End it with the signal that an orchestrator sends."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(float(SERVICES["service"]["stop_grace_period"].removesuffix("s")))

    @property
    def _log(self) -> Path:
        return self.folder / f"{self.port}.log"

    def _here(self, command: str) -> str:
        assert str(self.inside) in command
        return command.replace(str(self.inside), str(self.port))


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server(password="") as server:
        yield server


@pytest.fixture
def machine(tmp_path: Path, redis: RedisServer) -> Iterator[tuple[Container, list[Container]]]:
    """The sandbox, and as many replicas as the page has, on a machine that knows the containers' names."""
    (tmp_path / "sitecustomize.py").write_text(NAME_SERVICE)
    (tmp_path / "service.py").write_text(FILES["service.py"])
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "UVICORN_LOOP": "asyncio",  # uvloop asks the system for addresses, and not the name service above
    }
    sandbox = Container(SERVICES["sandbox"], 8080, tmp_path, variables)
    variables["PLACES"] = json.dumps({"sandbox:8080": sandbox.port, "redis:6379": redis.port})
    count = SERVICES["service"]["deploy"]["replicas"]
    replicas = [Container(SERVICES["service"], 8000, tmp_path, variables) for _ in range(count)]
    try:
        yield sandbox, replicas
    finally:
        for container in (*replicas, sandbox):
            container.stop()


def order(sandbox: Container, name: str, **body: Any) -> None:
    request = urllib.request.Request(  # noqa: S310 (loopback)
        f"{sandbox.url}/_sandbox/{name}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310 (loopback)
        pass


def test_the_page_does_what_it_says(machine: tuple[Container, list[Container]], tmp_path: Path) -> None:
    """One token request for all replicas; a replaced secret counts without a restart; the probes show it."""
    sandbox, replicas = machine
    secret = tmp_path / "peakly_password.txt"
    (secret_is_written,) = [command for command in TYPED if "printf" in command]
    subprocess.run(["/bin/sh", "-c", secret_is_written], cwd=tmp_path, check=True)
    for container in (sandbox, *replicas):
        container.start()
    for container in (sandbox, *replicas):
        wait_for(partial(getattr, container, "is_healthy"), "a container does not become healthy")

    def token_requests() -> int:
        return int(get(f"{sandbox.url}/_sandbox/state")[1]["peakly"]["counts"]["token_requests"])

    def all_answer(path: str) -> set[int]:
        return {get(replica.url + path)[0] for replica in replicas}

    assert token_requests() == 0
    ports = {8000: replicas[0].port, 8001: replicas[1].port, 8080: sandbox.port}
    asked = re.findall(r"^curl http://127\.0\.0\.1:(\d+)(/.*)$", "\n".join(TYPED), re.MULTILINE)
    assert len(asked) == 3
    for port, path in asked:
        assert get(f"http://127.0.0.1:{ports[int(port)]}{path}")[0] == 200, path
    assert all_answer("/clients") == {200}
    assert token_requests() == 1

    order(sandbox, "settings", peakly={"password": "another-password"})
    secret.write_text("another-password\n")
    order(sandbox, "revoke")
    assert all_answer("/clients") == {200}
    assert token_requests() == 2

    secret.write_text("a wrong one\n")
    order(sandbox, "revoke")
    all_answer("/clients")  # with the 401 that no new token could be had for
    assert all_answer("/clients") == {503}
    assert all_answer(PROBES["readinessProbe"]["httpGet"]["path"]) == {503}
    assert all_answer(PROBES["livenessProbe"]["httpGet"]["path"]) == {200}
    assert not replicas[0].is_healthy

    for replica in replicas:
        replica.stop()
        assert "Application shutdown complete" in replica.text
        assert "Unclosed" not in replica.text


def test_the_dockerfile_runs_what_the_compose_file_does() -> None:
    """Its last line is the service's command, as a list: no shell stands between the signal and the program."""
    kind, _, command = FILES["Dockerfile"].strip().splitlines()[-1].partition(" ")
    assert kind == "CMD"
    assert json.loads(command) == shlex.split(SERVICES["service"]["command"])
    assert COMPOSE["secrets"].keys() == {Path(SECRET).name}
