"""How an API tells of failures, as it is declared."""

from __future__ import annotations

from typing import Any

import pytest
from multidict import CIMultiDict

from asyncauth import ConfigurationError, ErrorFields
from asyncauth.providers.wire.classify import Answer, Kind, Verdict, classify
from asyncauth.providers.wire.document import fields_of

REJECTED = Verdict(Kind.REJECTED, declared=True)


def answer(status: int, document: object = None, **headers: str) -> Answer:
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    named["Date"] = "Sun, 09 Sep 2001 01:46:40 GMT"  # 1e9
    return Answer(status=status, headers=CIMultiDict(named), fields=fields_of(document), document=document)


def meaning(errors: ErrorFields, status: int, document: object = None, **headers: str) -> Verdict:
    return classify(answer(status, document, **headers), errors.rules.verdict)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500])
def test_what_is_declared_comes_before_the_status(status: int) -> None:
    """Busy, rejected and failed, whatever the status; a code that is declared overrules a 401 or 403 as well."""
    errors = ErrorFields(rejected="cms.cert.*", busy="coe.alreadyAuthenticated")
    assert meaning(errors, status, {"code": "coe.alreadyAuthenticated"}) == Verdict(Kind.BUSY)
    assert meaning(errors, status, {"code": "cms.cert.expired"}) == REJECTED


@pytest.mark.parametrize(
    ("errors", "document", "verdict"),
    [
        (ErrorFields(failed={"ok": False}), {"ok": False, "error": "no_such_app"}, Verdict(Kind.REJECTED)),
        (ErrorFields(failed={"ok": False}), {"ok": False}, Verdict(Kind.REJECTED)),
        (ErrorFields(failed={"ok": False}), {"ok": False, "error": "ratelimited"}, Verdict(Kind.BUSY)),
        (ErrorFields(failed={"ok": False}), {"ok": True}, Verdict(Kind.SUCCESS)),
        (ErrorFields(failed={"ok": False}, rejected="bad_key"), {"ok": False, "error": "bad_key"}, REJECTED),
        (ErrorFields(failed={"ok": False}, rejected="bad_key"), {"ok": False}, Verdict(Kind.UNREADABLE)),
        (ErrorFields(failed={"ok": False}, busy="later"), {"ok": False, "error": "later"}, Verdict(Kind.BUSY)),
        (ErrorFields(succeeded={"code": 0}), {"code": 10014, "msg": "No"}, Verdict(Kind.REJECTED)),
        (ErrorFields(succeeded={"code": 0}), {"code": 0}, Verdict(Kind.SUCCESS)),
        (ErrorFields(succeeded={"code": 0}), {"code": 0, "error": "none"}, Verdict(Kind.SUCCESS)),
        (ErrorFields(succeeded={"code": 0}), {}, Verdict(Kind.REJECTED)),
        (ErrorFields(succeeded={"code": 0}, busy={"code": 601}), {"code": 601}, Verdict(Kind.BUSY)),
        (ErrorFields(succeeded={"code": 0}, rejected={"code": 3}), {"code": 4}, Verdict(Kind.UNREADABLE)),
        (ErrorFields(succeeded={"error": None}), None, Verdict(Kind.UNREADABLE)),
        (ErrorFields(), {"error": "nope"}, Verdict(Kind.UNREADABLE)),
    ],
)
def test_an_error_inside_a_success(errors: ErrorFields, document: object, verdict: Verdict) -> None:
    """A 200 does not count as success if the answer says otherwise."""
    assert meaning(errors, 200, document) == verdict


def test_success_is_declared_of_successes_alone() -> None:
    """A refusal without the mark of success is judged by its status."""
    errors = ErrorFields(succeeded={"code": 0})
    assert meaning(errors, 400, {}) == Verdict(Kind.REJECTED)
    assert meaning(errors, 400, {"code": 0}) == Verdict(Kind.REJECTED)
    assert meaning(errors, 503, {}) == Verdict(Kind.BUSY)


@pytest.mark.parametrize(("status", "kind"), [(401, Kind.UNREADABLE), (422, Kind.REJECTED), (400, Kind.UNREADABLE)])
def test_refusals(status: int, kind: Kind) -> None:
    """The statuses that reject a credential, and no others."""
    assert meaning(ErrorFields(refusals=[422]), status, {}).kind is kind


@pytest.mark.parametrize(
    ("retry_after", "status", "document", "headers", "seconds"),
    [
        (None, 429, {}, {}, None),
        (20, 429, {}, {}, 20.0),
        (20, 429, {}, {"retry_after": "7"}, 7.0),
        (20, 200, {"code": 601}, {}, 20.0),
        (20, 200, {"code": 601, "retry_after": 3}, {}, 3.0),
        ("meta.wait", 200, {"code": 601, "meta": {"wait": "4"}}, {}, 4.0),
        ("meta.until", 503, {"meta": {"until": 1_000_000_060}}, {}, 60.0),
        ("meta.wait", 429, {}, {}, None),
        ("header:X-Wait", 429, {}, {"x_wait": "5"}, 5.0),
    ],
)
def test_the_pause(
    retry_after: Any, status: int, document: object, headers: dict[str, str], seconds: float | None
) -> None:
    """What an answer says itself goes first, then what is declared: a place, or seconds."""
    errors = ErrorFields(retry_after=retry_after, busy={"code": 601})
    assert meaning(errors, status, document, **headers) == Verdict(Kind.BUSY, seconds)


@pytest.mark.parametrize(
    ("message", "document", "text"),
    [
        ((), {"why": "No"}, None),
        ("why", {"why": "No"}, "No"),
        (("why", "x.y"), {"x": {"y": "No"}}, "No"),
        (("why", "x"), {"why": " ", "x": "No"}, "No"),
        ("why", {"why": 7}, None),
        ("header:X-Error", None, "No"),
    ],
)
def test_the_servers_message(message: Any, document: object, text: str | None) -> None:
    """Where it is declared to stand; the first place that has one counts."""
    assert ErrorFields(message=message).rules.said(answer(400, document, x_error="No")) == text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"message": 7}, "message takes"),
        ({"message": "a..b"}, "message is a path"),
        ({"rejected": object()}, "rejected takes"),
        ({"busy": ()}, "busy takes"),
        ({"failed": {"a..b": 1}}, "failed is a path"),
        ({"succeeded": {"a": object()}}, "succeeded takes"),
        ({"retry_after": 0}, "retry_after takes"),
        ({"retry_after": True}, "retry_after takes"),
        ({"retry_after": float("inf")}, "retry_after takes"),
        ({"retry_after": []}, "retry_after takes"),
        ({"retry_after": "a..b"}, "retry_after is a path"),
        ({"refusals": (200,)}, "refusals takes"),
        ({"refusals": 401}, "refusals takes"),
    ],
)
def test_what_cant_be_declared(options: dict[str, Any], words: str) -> None:
    """An argument that can't be read is refused by its name, when it is given."""
    with pytest.raises(ConfigurationError, match=words):
        ErrorFields(**options)


def test_it_shows_and_compares_what_was_declared() -> None:
    """Two that say the same are equal; the repr is what one would write."""
    errors = ErrorFields(busy={"status": 601})
    assert errors == ErrorFields(busy={"status": 601})
    assert "busy={'status': 601}" in repr(errors)
    assert "rules" not in repr(errors)
