"""What a token endpoint's answer means, by the common rules and by a provider's own say."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from asyncauth.providers.wire.classify import Answer, Kind, Verdict, classify, composed, rejects

PAGE = b"<!DOCTYPE html><html><title>Request blocked</title></html>"


def answer(
    status: int,
    fields: Mapping[str, Any] | None = None,
    *,
    body: bytes = b"",
    date: float | None = None,
    **headers: str,
) -> Answer:
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    if date is not None:
        named["Date"] = formatdate(date, usegmt=True)
    return Answer(status=status, headers=CIMultiDict(named), fields=fields, body=body)


@pytest.mark.parametrize(
    ("status", "is_success", "is_redirect"),
    [
        (199, False, False),
        (200, True, False),
        (299, True, False),
        (300, False, True),
        (399, False, True),
        (400, False, False),
    ],
)
def test_classes_of_statuses(status: int, *, is_success: bool, is_redirect: bool) -> None:
    """2xx is a success, and 3xx a redirection."""
    assert (answer(status).is_success, answer(status).is_redirect) == (is_success, is_redirect)


@pytest.mark.parametrize(
    ("status", "fields", "kind"),
    [
        (200, {"access_token": "at-1"}, Kind.SUCCESS),
        (201, {}, Kind.SUCCESS),
        (200, {"error": ""}, Kind.SUCCESS),
        (200, {"error": None}, Kind.SUCCESS),
        (200, None, Kind.UNREADABLE),
        (199, {}, Kind.UNREADABLE),
        (200, {"error": "invalid_grant"}, Kind.REJECTED),
        (200, {"error": "authorization_pending"}, Kind.REJECTED),
        (200, {"error": "invalid_auth"}, Kind.UNREADABLE),
        (200, {"error": {"odd": True}}, Kind.UNREADABLE),
        (200, {"error": "temporarily_unavailable"}, Kind.BUSY),
        (299, {"error": "server_error"}, Kind.BUSY),
        (300, {}, Kind.UNREADABLE),
        (302, None, Kind.UNREADABLE),
        (399, {}, Kind.UNREADABLE),
        (400, {"error": "invalid_request"}, Kind.REJECTED),
        (400, None, Kind.UNREADABLE),
        (401, {}, Kind.REJECTED),
        (401, None, Kind.REJECTED),
        (402, None, Kind.UNREADABLE),
        (402, {}, Kind.REJECTED),
        (403, {}, Kind.REJECTED),
        (403, None, Kind.UNREADABLE),
        (404, None, Kind.UNREADABLE),
        (404, {"error": "invalid_client"}, Kind.UNREADABLE),
        (405, {}, Kind.UNREADABLE),
        (404, {"error": "server_error"}, Kind.BUSY),
        (408, None, Kind.BUSY),
        (422, {}, Kind.REJECTED),
        (422, None, Kind.UNREADABLE),
        (425, None, Kind.BUSY),
        (429, {}, Kind.BUSY),
        (499, {}, Kind.REJECTED),
        (500, None, Kind.BUSY),
        (599, {"error": "invalid_grant"}, Kind.BUSY),
    ],
)
def test_the_common_rules(status: int, fields: dict[str, Any] | None, kind: Kind) -> None:
    """Status, and the error code where it says more (RFC 6749 §5.2)."""
    assert classify(answer(status, fields)).kind is kind


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize(
    ("body", "content_type", "is_block"),
    [
        (b"", None, True),
        (b" \r\n", "application/json", True),
        (PAGE, "text/html", True),
        (PAGE, None, True),
        (b"\xef\xbb\xbf\n<HTML>", "text/plain", True),
        (b"<head><title>403 Forbidden</title></head>", None, True),
        (b"blocked", "Text/HTML; charset=utf-8", True),
        (b"wrong password", "text/plain", False),
        (b"<fault>wrong password</fault>", "text/xml", False),
        (b"[]", "application/json", False),
    ],
)
def test_a_blocked_request_says_nothing_of_the_credential(
    status: int, body: bytes, content_type: str | None, *, is_block: bool
) -> None:
    """A firewall's page or an empty body is unreadable; a server's own words, in whatever form, are a rejection."""
    headers: dict[str, Any] = {} if content_type is None else {"content_type": content_type}
    given = answer(status, body=body, **headers)
    kind = Kind.UNREADABLE if is_block else Kind.REJECTED
    assert given.is_block == is_block
    assert classify(given).kind is classify(given, rejects(400, 403)).kind is kind


@pytest.mark.parametrize("body", [b"", PAGE])
def test_a_401_is_a_rejection_whatever_its_body(body: bytes) -> None:
    """Servers that say 401 often say it with a page, or with nothing."""
    assert classify(answer(401, body=body)).kind is classify(answer(401, body=body), rejects(401)).kind is Kind.REJECTED


def test_json_is_read_whatever_its_type() -> None:
    """A server that calls its JSON a page rejects all the same."""
    given = answer(400, {"error": "invalid_grant"}, body=b'{"error": "invalid_grant"}', content_type="text/html")
    assert classify(given).kind is Kind.REJECTED


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "slow_down", Kind.BUSY),
        (400, "rate_limit_exceeded", Kind.BUSY),
        (400, "TooManyRequests", Kind.BUSY),
        (404, "QPSLimit", Kind.BUSY),
        (200, "ratelimited", Kind.BUSY),
        (200, "bad_refresh_token", Kind.REJECTED),
        (401, "server_error", Kind.REJECTED),
        (401, "temporarily_unavailable", Kind.REJECTED),
        (401, "slow_down", Kind.REJECTED),
        (403, "server_error", Kind.REJECTED),
        (403, "rate_limit_exceeded", Kind.REJECTED),
    ],
)
def test_codes_of_the_field(status: int, code: str, kind: Kind) -> None:
    """Codes that are known count without being declared; with a 401 or 403, none means "later"."""
    assert classify(answer(status, {"error": code})) == Verdict(kind)


@pytest.mark.parametrize("fields", [{"errors": [{"code": "rate_limited"}]}, {"errcode": "QPS_LIMIT"}])
def test_codes_of_the_field_stand_anywhere(fields: dict[str, Any]) -> None:
    """In a refusal they count wherever servers write codes; in a success nothing but ``error`` does."""
    assert classify(answer(400, fields)) == Verdict(Kind.BUSY)
    assert classify(answer(200, {**fields, "access_token": "at-1"})) == Verdict(Kind.SUCCESS)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_that_says_when_is_busy(status: int) -> None:
    """With ``Retry-After`` in the header or its like in the body, a refusal is one of the moment."""
    assert classify(answer(status, {}, retry_after="7")) == Verdict(Kind.BUSY, 7.0)
    assert classify(answer(status, {"retry_after_ms": 1500})) == Verdict(Kind.BUSY, 1.5)
    assert classify(answer(200, {"error": "nope"}, retry_after="7")) == Verdict(Kind.BUSY, 7.0)
    assert classify(answer(200, {}, retry_after="7")) == Verdict(Kind.SUCCESS)
    assert classify(answer(302, {}, retry_after="7")) == Verdict(Kind.UNREADABLE)


def test_no_pause_makes_no_refusal_busy() -> None:
    """``Retry-After: 0`` says nothing beside a rejected credential: it would be sent again at once."""
    assert classify(answer(401, {}, retry_after="0")) == Verdict(Kind.REJECTED)
    assert classify(answer(503, {}, retry_after="0")) == Verdict(Kind.BUSY, 0.0)
    used_up: dict[str, Any] = {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "0"}
    assert classify(answer(403, {}, retry_after="0", **used_up)) == Verdict(Kind.BUSY, 0.0)


@pytest.mark.parametrize(
    ("status", "is_paced"),
    [
        *((200, True), (302, False), (400, True), (401, True), (499, True), (500, False), (503, False)),
        *((408, False), (425, False), (429, False)),
    ],
)
def test_what_a_credential_is_paced_by(status: int, *, is_paced: bool) -> None:
    """An answer of a server that has looked at it, as far as statuses tell that."""
    assert answer(status).is_paced is is_paced


def test_a_quota_that_is_used_up() -> None:
    """A 429 tells its time in one of many headers; so does a 403, if the header says that nothing is left."""
    reset: dict[str, Any] = {"x_ratelimit_reset": "60"}
    assert classify(answer(429, {}, **reset)) == Verdict(Kind.BUSY, 60.0)
    assert classify(answer(429, {}, retry_after="7", **reset)) == Verdict(Kind.BUSY, 7.0)
    assert classify(answer(400, {"error": "rate_limited"}, **reset)) == Verdict(Kind.BUSY, 60.0)
    assert classify(answer(403, {}, x_ratelimit_remaining="0", **reset)) == Verdict(Kind.BUSY, 60.0)
    assert classify(answer(403, {}, x_ratelimit_remaining="9", **reset)) == Verdict(Kind.REJECTED)
    assert classify(answer(403, {}, **reset)) == Verdict(Kind.REJECTED)
    assert classify(answer(401, {}, x_ratelimit_remaining="0", **reset)) == Verdict(Kind.REJECTED)
    assert classify(answer(503, {}, x_ratelimit_remaining="0", **reset)) == Verdict(Kind.BUSY)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "Thu, 01 Jan 1970 00:01:40 GMT", "date": 40.0}, 60.0),
        ({"retry_after": "soon"}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_when_a_busy_server_wants_to_be_asked_again(status: int, headers: Any, seconds: float | None) -> None:
    """``Retry-After``, in seconds or as a date by the server's own clock (RFC 9110 §10.2.3)."""
    assert classify(answer(status, None, **headers)) == Verdict(Kind.BUSY, retry_after=seconds)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, Kind.SUCCESS), (401, Kind.UNREADABLE), (418, Kind.REJECTED), (429, Kind.BUSY), (500, Kind.BUSY)],
)
def test_a_server_with_statuses_of_its_own(status: int, kind: Kind) -> None:
    """Those that a provider names mean a rejection, and no others do; a busy server is busy all the same."""
    assert classify(answer(status, {}), rejects(418, 429)).kind is kind


def test_a_provider_has_the_last_word() -> None:
    """Its hook sees the answer, and what it means by the common rules."""
    seen: list[tuple[Answer, Verdict]] = []

    def hook(given: Answer, verdict: Verdict) -> Verdict:
        seen.append((given, verdict))
        return Verdict(Kind.BUSY, retry_after=5.0)

    given = answer(400, {"error": "invalid_grant"})
    assert classify(given, hook) == Verdict(Kind.BUSY, retry_after=5.0)
    assert seen == [(given, Verdict(Kind.REJECTED))]


def test_hooks_are_asked_in_their_order() -> None:
    """Each sees what the one before it said."""

    def busy(_: Answer, verdict: Verdict) -> Verdict:
        return Verdict(Kind.BUSY, 1.0 + (verdict.retry_after or 0.0))

    assert classify(answer(200, {}), composed()) == Verdict(Kind.SUCCESS)
    assert classify(answer(200, {}), composed(busy, busy)) == Verdict(Kind.BUSY, 2.0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
FIELDS = st.none() | st.dictionaries(st.sampled_from(["error", "error_description", "access_token"]) | st.text(), JSON)


@given(st.integers(100, 999), FIELDS, st.none() | st.text())
def test_no_answer_is_too_odd(status: int, fields: dict[str, Any] | None, retry_after: str | None) -> None:
    """Every answer has one meaning, and only a busy one names a time."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    verdict = classify(Answer(status=status, headers=headers, fields=fields))
    assert verdict.retry_after is None or verdict.kind is Kind.BUSY


def test_an_answers_repr_shows_nothing_of_it() -> None:
    """A server may repeat what was sent."""
    assert "at-1" not in repr(answer(200, {"access_token": "at-1"}))


@pytest.mark.parametrize(("blanks", "is_page"), [(0, True), (1_018, True), (1_019, True), (1_020, False)])
def test_a_page_is_known_by_its_first_kilobyte(blanks: int, *, is_page: bool) -> None:
    """Blanks may come first; what begins later is not looked for."""
    assert answer(403, body=b" " * blanks + b"<html>").is_page is is_page


def test_the_common_rules_declare_nothing() -> None:
    """Only a provider's own say makes a rejection a declared one."""
    assert classify(answer(401)) == Verdict(Kind.REJECTED, declared=False)
    assert rejects(418)(answer(418), classify(answer(418))) == Verdict(Kind.REJECTED, declared=False)
