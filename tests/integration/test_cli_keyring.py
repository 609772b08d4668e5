"""``--keyring``: credentials from the system's keyring, asked for and in their order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring_kit
import pytest
from cli_kit import Ended, Shell, credentials
from cryptography.fernet import Fernet

from asyncauth.sandbox import Sandbox, sandbox_in_thread


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with sandbox_in_thread() as running:
        yield running


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Iterator[Shell]:
    before = keyring.get_keyring()
    keyring.set_keyring(keyring_kit.Ring())  # type: ignore[no-untyped-call]
    yield Shell(monkeypatch, capfdbinary)
    keyring.set_keyring(before)


def hold(shell: Shell, **names: str) -> None:
    """Fill the keyring's service "shop"."""
    shell.set(TEST_KEYRING=json.dumps({"shop": names}))


def token(shell: Shell, sandbox: Sandbox, *more: str, system: str = "peakly") -> Ended:
    url = sandbox.systems[system.replace("-", "_")].url
    return shell.run("token", system, "--base-url", url, "--json", *more)


def test_credentials_from_the_keyring(shell: Shell, sandbox: Sandbox) -> None:
    """With --keyring what the environment lacks is looked up there, under the variables' names."""
    hold(shell, **credentials(sandbox))
    assert token(shell, sandbox).code == 2  # not unasked
    ended = token(shell, sandbox, "--keyring", "shop")
    assert ended.code == 0
    assert json.loads(ended.out)["credential"].endswith("PEAKLY_PASSWORD of the keyring's service 'shop'")
    assert ended.has_none_of(sandbox.password)
    shell.set(ASYNCAUTH_KEYRING="shop")
    assert token(shell, sandbox).code == 0
    assert token(shell, sandbox, "--keyring", "other").code == 2


def test_the_environment_comes_first(shell: Shell, sandbox: Sandbox) -> None:
    """A variable that is set wins over the keyring; one that is empty does not."""
    hold(shell, **{**credentials(sandbox), "PEAKLY_USERNAME": "nobody"})
    assert token(shell, sandbox, "--keyring", "shop").code == 3
    shell.set(PEAKLY_USERNAME=sandbox.username, PEAKLY_PASSWORD="")
    ended = token(shell, sandbox, "--keyring", "shop")
    assert json.loads(ended.out)["credential"] == (
        "username and password in PEAKLY_USERNAME and PEAKLY_PASSWORD (keyring 'shop')"
    )


def test_pago_facil_from_the_keyring(shell: Shell, sandbox: Sandbox) -> None:
    """Of several credentials the nearest to the API is used, wherever it is held."""
    hold(shell, PAGO_FACIL_ACCESS_TOKEN="no-such-token")
    shell.set(**credentials(sandbox))
    ended = token(shell, sandbox, "--keyring", "shop", system="pago-facil")
    assert (ended.code, "loginToken" in ended.err) == (3, True)


def test_a_request_and_the_doctor_take_it(shell: Shell, sandbox: Sandbox) -> None:
    """`request` and `doctor` find their credentials there, too."""
    hold(shell, **credentials(sandbox))
    url = sandbox.peakly.url
    sent = shell.run("request", f"{url}/api/check", "--as", "peakly", "--base-url", url, "--keyring", "shop")
    assert sent.code == 0
    ended = shell.run("doctor", "peakly", "--base-url", url, "--keyring", "shop")
    assert ended.code == 0
    assert "of the keyring's service 'shop' are well-formed" in ended.out


def test_a_stores_keys_from_the_keyring(shell: Shell, tmp_path: Path) -> None:
    """The keys of an EncryptedStore may lie there, too; they are not shown."""
    key = Fernet.generate_key().decode()
    hold(shell, ASYNCAUTH_STORE_KEYS=key)
    ended = shell.run("status", str(tmp_path), "--keyring", "shop", "--encrypted")
    assert (ended.code, ended.out) == (0, f"{tmp_path}: 0 entries\n")
    hold(shell, ASYNCAUTH_STORE_KEYS="no-key")
    ended = shell.run("status", str(tmp_path), "--keyring", "shop")
    assert (ended.code, "is not a Fernet key" in ended.err) == (2, True)


def test_a_keyring_that_cannot_be_read(shell: Shell, sandbox: Sandbox) -> None:
    """A locked keyring is one line without the backend's text; an empty service is refused."""
    keyring.set_keyring(keyring_kit.Locked())  # type: ignore[no-untyped-call]
    ended = token(shell, sandbox, "--keyring", "shop")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "the keyring can't be read (KeyringLocked): is it unlocked" in ended.err
    assert ended.has_none_of("s3cret-text")
    assert token(shell, sandbox, "--keyring", " ").code == 2


def test_a_process_of_its_own(shell: Shell, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed command uses the keyring that the user has chosen."""
    hold(shell, **credentials(sandbox))
    path = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    shell.set(PYTHON_KEYRING_BACKEND="keyring_kit.Ring", PYTHONPATH=os.pathsep.join(path))
    ended = shell.spawn("token", "peakly", "--base-url", sandbox.peakly.url, "--keyring", "shop")
    assert (ended.code, ended.err) == (0, "")


def test_without_the_extra_there_is_one_line() -> None:
    """Without keyring the line says what to install; nothing else needs it."""
    program = (
        "import sys; sys.modules['keyring'] = None; sys.argv = ['asyncauth', 'token', 'peakly', '--keyring', 'shop']\n"
        "from asyncauth.cli.__main__ import main\nsys.exit(main())"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "asyncauth: --keyring needs keyring, which is not installed: pip install 'asyncauth[keyring]'\n"
    )
