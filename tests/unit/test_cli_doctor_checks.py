"""The doctor's judgements that need no server, and the names of a store's keys."""

from __future__ import annotations

import base64
import importlib.metadata
import json
import os
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from asyncauth import PagoFacil, PagoFacilJWT, PagoFacilLogin, Peakly, Provider, Token, TokenManager
from asyncauth.cli.credentials import PAGO_FACIL_VARIABLES, PEAKLY_VARIABLES, Credentials
from asyncauth.cli.doctor.clocks import clocks
from asyncauth.cli.doctor.files import permissions
from asyncauth.cli.doctor.finding import Mark
from asyncauth.cli.doctor.packages import judge, packages
from asyncauth.cli.doctor.shape import shape
from asyncauth.cli.doctor.tls import certificate, distrust
from asyncauth.cli.systems import System
from asyncauth.cli.times import in_words, moment
from asyncauth.cli.whose import keys_of
from asyncauth.stores import MemoryStore

NOW = 1_700_000_000.0
DAY = 86400.0


# Clocks


@pytest.mark.parametrize(
    ("ahead", "error", "mark"),
    [
        (0.0, 0.0, Mark.OK),
        (5.0, 0.0, Mark.OK),
        (5.1, 0.0, Mark.WARN),
        (5.4, 0.5, Mark.OK),
        (-60.0, 0.0, Mark.WARN),
        (-60.1, 0.0, Mark.FAIL),
        (3600.0, 0.5, Mark.FAIL),
        (-3600.0, 0.5, Mark.FAIL),
    ],
)
def test_clocks(ahead: float, error: float, mark: Mark) -> None:
    """Clocks may be 5 s apart without a word, and a minute without a failure; what is uncertain counts for them."""
    assert clocks("clock", "the server", ahead, error).mark is mark


@pytest.mark.parametrize(("ahead", "said"), [(3600.0, "1.0 h ahead of"), (-3600.0, "1.0 h behind")])
def test_clocks_say_which_way(ahead: float, said: str) -> None:
    """The line says by how much, and in which direction."""
    assert said in clocks("clock", "the server", ahead, 0.0).says


# TLS


def _ends(at: float) -> dict[str, Any]:
    return {"notAfter": time.strftime("%b %d %H:%M:%S %Y GMT", time.gmtime(at))}


@pytest.mark.parametrize(
    ("left", "mark"), [(14 * DAY - 1, Mark.WARN), (14 * DAY, Mark.OK), (60.0, Mark.WARN), (400 * DAY, Mark.OK)]
)
def test_a_certificate_that_ends_soon(left: float, mark: Mark) -> None:
    """A certificate that should have been renewed by now is a warning while it is still good."""
    found = certificate("tls", _ends(NOW + left), "TLSv1.3", NOW)
    assert found.mark is mark
    assert in_words(left) in found.says


@pytest.mark.parametrize(
    ("code", "said", "advice"),
    [
        (10, "has expired", "clock"),
        (9, "not valid yet", "clock"),
        (18, "signed by itself", "SSL_CERT_FILE"),
        (20, "does not know", "SSL_CERT_FILE"),
        (62, "another host", "name right"),
        (99, "is not trusted (odd)", "SSL_CERT_FILE"),
    ],
)
def test_why_a_certificate_is_not_trusted(code: int, said: str, advice: str) -> None:
    """Each common cause has words of its own, and says what to do."""
    error = ssl.SSLCertVerificationError("odd")
    error.verify_code, error.verify_message = code, "odd"
    found = distrust("tls", "api.example.com", error)
    assert found.mark is Mark.FAIL
    assert said in found.says
    assert advice in (found.do or "")


# Packages


def test_every_package_of_ours_is_looked_at() -> None:
    """The installed packages pass, and each extra of pyproject.toml has a line."""
    found = packages()
    assert not [finding for finding in found if finding.mark is Mark.FAIL]
    extras = importlib.metadata.metadata("asyncauth").get_all("Provides-Extra") or []
    subjects = {finding.subject for finding in found}
    assert {f"extra {extra}" for extra in extras} <= subjects
    assert {"python", "asyncauth", "aiohttp", "attrs", "cattrs"} <= subjects


@pytest.mark.parametrize(
    ("requirement", "mark", "says", "do"),
    [
        ("attrs>=1.0", Mark.OK, "attrs ", None),
        ("attrs", Mark.OK, "attrs ", None),
        ("attrs>=9999", Mark.FAIL, "too old: 9999", "pip install asyncauth --upgrade"),
        ("no-such-package>=1", Mark.FAIL, "not installed", "pip install asyncauth"),
        ("no-such-package>=1; extra == 'x'", Mark.SKIP, "not installed: pip install 'asyncauth[x]'", None),
        ('attrs[extra]>=9999; extra == "x"', Mark.FAIL, "too old", "pip install 'asyncauth[x]' --upgrade"),
    ],
)
def test_packages(requirement: str, mark: Mark, says: str, do: str | None) -> None:
    """A missing or too old package fails, with the command that fixes it; an extra may be missing."""
    (found,) = judge([requirement])
    assert (found.mark, found.do) == (mark, do)
    assert says in found.says


def test_a_package_of_two_extras() -> None:
    """It has one line: a second one would call an extra installed of which something else is missing."""
    found = judge(["attrs; extra == 'cli'", "no-such-package; extra == 'keyring'", "attrs; extra == 'keyring'"])
    assert [(each.subject, each.mark) for each in found] == [("extra cli", Mark.OK), ("extra keyring", Mark.SKIP)]


# Credentials


def jwt(**claims: float) -> str:
    def part(fields: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")

    return f"{part({'alg': 'HS256'})}.{part(claims)}.c2lnbmF0dXJl"


SECRET = "hunter2-hunter2"
USERNAME, PASSWORD = PEAKLY_VARIABLES
ACCESS_TOKEN, JWT = PAGO_FACIL_VARIABLES[:2]


@pytest.mark.parametrize(
    ("value", "mark", "said"),
    [
        (SECRET, Mark.OK, "are well-formed"),
        ("", Mark.FAIL, "is set but empty"),
        (" \t", Mark.FAIL, "only blanks"),
        (f"{SECRET}\n", Mark.FAIL, "ends with a line break"),
        (f"{SECRET}\r\n", Mark.FAIL, "ends with a line break"),
        (f"{SECRET}\nx", Mark.FAIL, "holds a line break"),
        (f"{SECRET}\udcff", Mark.FAIL, "is not UTF-8"),
        (f'"{SECRET}"', Mark.WARN, "quotation marks"),
        (f" {SECRET}", Mark.WARN, "begins or ends with a blank"),
    ],
)
def test_the_shape_of_a_password(value: str, mark: Mark, said: str) -> None:
    """What can't be meant is said, by the variable's name and without its value."""
    (found,) = shape(Credentials(System.PEAKLY, {USERNAME: "me", PASSWORD: value}), NOW)
    assert found.mark is mark
    assert said in found.says
    assert PASSWORD in found.says
    assert SECRET not in f"{found.says} {found.do}"


@pytest.mark.parametrize(
    ("name", "value", "mark", "said"),
    [
        (JWT, jwt(exp=NOW + DAY), Mark.OK, "well-formed"),
        (JWT, jwt(exp=NOW), Mark.FAIL, "expired 0 s ago"),
        (JWT, jwt(exp=NOW - 3 * 3600), Mark.FAIL, "expired 3.0 h ago"),
        (JWT, jwt(exp=NOW + 600), Mark.WARN, "expires in 10.0 min"),
        (JWT, jwt(), Mark.WARN, "without readable times"),
        (JWT, "4dpCfWf9", Mark.FAIL, "is not a JWT"),
        (JWT, f"Bearer {jwt(exp=NOW + DAY)}", Mark.FAIL, "begins with 'Bearer'"),
        (JWT, f"{jwt(exp=NOW + DAY)}\n", Mark.FAIL, "ends with a line break"),
        (ACCESS_TOKEN, "4dpCfWf9", Mark.OK, "is well-formed"),
        (ACCESS_TOKEN, "4dp CfWf9", Mark.FAIL, "can't travel in a header"),
        (ACCESS_TOKEN, jwt(exp=NOW - 1), Mark.FAIL, "expired 1 s ago"),
    ],
)
def test_the_shape_of_a_token(name: str, value: str, mark: Mark, said: str) -> None:
    """A JWT must be one and must not have ended; an access token may be opaque."""
    (found,) = shape(Credentials(System.PAGO_FACIL, {name: value}), NOW)
    assert found.mark is mark
    assert said in found.says
    assert value.strip() not in f"{found.says} {found.do}"


def test_what_is_missing() -> None:
    """Each variable that is not set has a line; one that is set to nothing and not used is a warning."""
    missing = shape(Credentials(System.PEAKLY, {}), NOW)
    assert [(each.mark, each.says) for each in missing] == [
        (Mark.FAIL, f"{USERNAME} is not set"),
        (Mark.FAIL, f"{PASSWORD} is not set"),
    ]
    (empty,) = shape(Credentials(System.PAGO_FACIL, {ACCESS_TOKEN: "opaque", JWT: ""}), NOW)
    assert (empty.mark, empty.says) == (Mark.WARN, f"{JWT} is set but empty")


# Files


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize(
    ("folder", "file", "mark", "said"),
    [
        (0o700, 0o600, Mark.OK, "only their owner can read"),
        (0o700, 0o644, Mark.FAIL, "every user of this machine can read tokens"),
        (0o700, 0o602, Mark.FAIL, "every user of this machine can read tokens"),
        (0o700, 0o640, Mark.WARN, "their group can read tokens"),
        (0o755, 0o600, Mark.WARN, "others can list"),
        (0o770, 0o600, Mark.FAIL, "its group can create files in"),
        (0o707, 0o600, Mark.FAIL, "every user of this machine can create files in"),
    ],
)
def test_who_can_read_the_files(tmp_path: Path, folder: int, file: int, mark: Mark, said: str) -> None:
    """It reports other users who can read or plant a token, with the command that prevents it."""
    place = tmp_path / "tokens"
    place.mkdir()
    entry = place / f"{'ab' * 32}.json"
    entry.write_text("{}")
    entry.chmod(file)
    (place / "notes.txt").write_text("of no interest")
    place.chmod(folder)
    (found,) = permissions(place, sealed=False)
    assert found.mark is mark
    assert said in found.says
    assert mark is Mark.OK or (found.do or "").startswith("chmod ")


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to be root")
def test_files_of_another_user(tmp_path: Path) -> None:
    """A file that belongs to somebody else is a warning."""
    place = tmp_path / "tokens"
    place.mkdir(mode=0o700)
    entry = place / f"{'ab' * 32}.json"
    entry.touch(mode=0o600)
    os.chown(entry, 4711, 4711)
    (found,) = permissions(place, sealed=False)
    assert (found.mark, "another user" in found.says) == (Mark.WARN, True)


# Keys, times


class _Asked(MemoryStore):
    """Has a token under every key, and notes which was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.keys_asked: list[str] = []

    async def load(self, key: str) -> Token:
        self.keys_asked.append(key)
        return Token("stored", expires_at=time.time() + 3600)


async def _key(provider: Provider) -> str:
    store = _Asked()
    await TokenManager(provider, store=store).token()
    return store.keys_asked[0]


@pytest.mark.parametrize("environment", ["production", "development"])
async def test_the_names_of_pago_facils_keys(environment: Any) -> None:
    """Each manager of the chain, and each of a bare credential with account=, keeps its token under a named key."""
    names = keys_of(System.PAGO_FACIL, "me", {"environment": environment})
    login = PagoFacilLogin(username="me", password="x", environment=environment)
    for provider, name in (
        (login, "login"),
        (PagoFacil(jwt=login, environment=environment), "createToken"),
        (PagoFacil(jwt="x", account="me", environment=environment), "createToken"),
        (PagoFacilJWT.from_password(username="me", password="x", environment=environment), "loginToken"),
        (PagoFacilJWT(access_token="x", account="me", environment=environment), "loginToken"),
    ):
        assert names.pop(await _key(provider)) == f"pago-facil {name}"
    assert names == {}


async def test_the_name_of_peaklys_key() -> None:
    """A manager's key is found with the options that say where its token comes from, and not with others."""
    key = await _key(Peakly(username="me", password="x", environment="qa"))
    assert keys_of(System.PEAKLY, "me", {"environment": "qa"}) == {key: "peakly token"}
    assert key not in keys_of(System.PEAKLY, "me", {})


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 s"),
        (59.4, "59 s"),
        (60.0, "1.0 min"),
        (3590.0, "59.8 min"),
        (3599.9, "1.0 h"),
        (3600.0, "1.0 h"),
        (DAY, "1.0 d"),
        (729 * DAY, "729.0 d"),
        (730 * DAY, "2.0 years"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    """A duration is shown in a unit that gives a readable number."""
    assert in_words(seconds) == words


def test_instants() -> None:
    """An instant is shown as in RFC 3339; one beyond any calendar, as a number."""
    assert moment(NOW) == "2023-11-14T22:13:20Z"
    assert moment(None) is None
    assert moment(1e18) == "1000000000000000000"


def test_one_module_imports_keyring() -> None:
    """The optional keyring is imported in one place, and not before it is asked."""
    package = Path(sys.modules["asyncauth"].__file__ or "").parent
    naming = [path.name for path in package.rglob("*.py") if '"keyring")' in path.read_text(encoding="utf-8")]
    assert naming == ["keychain.py"]
    assert "import keyring" not in "".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
