"""What the sandbox shows of a request: all that helps, and no secret."""

from __future__ import annotations

import hashlib

import pytest

from asyncauth.sandbox.details import Note, Shown, shown_fields, shown_headers

TOKEN = "a-token-that-is-long-enough"
FINGERPRINT = hashlib.sha256(TOKEN.encode()).hexdigest()[:8]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("User-Agent", "curl/8", ("plain", "curl/8")),
        ("Content-Type", "x" * 300, ("plain", "x" * 200)),
        ("Authorization", f"Bearer {TOKEN}", ("fingerprint", FINGERPRINT)),
        ("Authorization", "Bearer short", ("hidden", "5")),  # it could be found by trying
        ("Authorization", "Basic bWU6c2VjcmV0", ("hidden", "18")),
        ("Cookie", "session=secret", ("hidden", "14")),
        ("X-Api-Key", "", ("hidden", "0")),
    ],
)
def test_a_header_is_shown_if_it_can_hold_no_secret(name: str, value: str, shown: tuple[str, str]) -> None:
    """A token by its fingerprint, of everything else that is not known to be harmless the length."""
    assert shown_headers([(name, value)]) == (Shown(name, shown[0], shown[1]),)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("username", "me", ("right", "me")),
        ("user", "somebody", ("other", "")),
        ("password", "secret", ("right", "")),
        ("password", "secre", ("other", "")),
        ("password", 5, ("other", "")),
        ("grant_type", "password", ("plain", "password")),
        ("grant_type", "a secret by mistake", ("hidden", "19")),
        ("expDate", 1_800_000_000, ("plain", "1800000000")),
        ("refresh_token", TOKEN, ("fingerprint", FINGERPRINT)),
        ("refresh_token", "short", ("hidden", "5")),
        ("client_secret", "s3cret", ("hidden", "6")),
    ],
)
def test_a_field_is_shown_by_whether_it_is_right(name: str, value: object, shown: tuple[str, str]) -> None:
    """User and password are compared with those of the sandbox; a password is never shown, a user if right."""
    assert shown_fields({name: value}, username="me", password="secret") == (Shown(name, *shown),)  # type: ignore[arg-type]


def test_what_is_shown_is_bounded() -> None:
    """Names are cut, and of very many headers or fields the first are shown."""
    many = {f"{number:>100}": "x" for number in range(99)}
    for shown in (shown_headers(many.items()), shown_fields(many, username="me", password="secret")):
        assert len(shown) == 40
        assert {len(one.name) for one in shown} == {60}


@pytest.mark.parametrize(
    ("authorization", "token"), [(f"Bearer {TOKEN}", FINGERPRINT), ("Bearer short", None), ("Basic x", None)]
)
def test_a_note_becomes_details(authorization: str, token: str | None) -> None:
    """With the token that came, and what was found out meanwhile."""
    note = Note(why="revoked_token", fault="hang", issued="1234", echo=True)
    details = note.details({"Authorization": authorization})
    assert (details.token, details.why, details.fault, details.issued) == (token, "revoked_token", "hang", "1234")
    assert details.echo
    assert [one.name for one in details.headers] == ["Authorization"]
