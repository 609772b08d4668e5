"""The server's own words: found wherever servers write them, and fit to be shown."""

from __future__ import annotations

import base64
import html
import json
import re
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from harness.canary import MARK

from asyncauth._base.redaction import Redactor
from asyncauth.providers.wire.words import error_codes, server_message


def said(document: object, secrets: tuple[str, ...] = ()) -> tuple[str | None, str | None]:
    """Return the code and the message that are shown of an answer to these secrets."""
    return server_message(document, Redactor(secrets))


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({}, None, None),
        ({"error": "invalid_grant"}, "invalid_grant", None),
        ({"error": "invalid_grant", "error_description": "No."}, "invalid_grant", "No."),
        ({"error": "invalid_grant", "message": "No."}, "invalid_grant", "No."),
        ({"error": "Wrong email or password."}, None, "Wrong email or password."),
        ({"error": "Wrong email.", "message": "No."}, None, "No."),
        ({"message": "No."}, None, "No."),
        ({"error": 7, "message": ["No."]}, None, "No."),
        ({"error": True}, None, None),
        ({"error": [[1]]}, None, None),
        ({"error": "", "message": ""}, None, None),
        ({"message": " \n\t "}, None, None),
        ({"message": "a \r\n b"}, None, "a b"),
    ],
)
def test_the_servers_words(fields: dict[str, object], code: str | None, text: str | None) -> None:
    """A code is a code, a sentence is a message wherever it stands, and anything else is nothing."""
    assert said(fields, ()) == (code, text)


@pytest.mark.parametrize("secret", [MARK, "a b", "ñandú", '"quoted"', "\\", "</b>"])
def test_secrets_are_taken_out(secret: str) -> None:
    """What was sent is taken out of code and message, wherever it stands."""
    fields = {"error": secret, "message": f"{secret}, not {secret}"}
    assert all(secret not in (part or "") for part in said(fields, (secret,)))


@pytest.mark.parametrize(
    "code",
    [
        "access_denied",
        "authorization_pending",
        "expired_token",
        "invalid_client",
        "invalid_grant",
        "server_error",
        "slow_down",
        "temporarily_unavailable",
        "use_dpop_nonce",
    ],
)
def test_a_code_that_decides_is_left_whole(code: str) -> None:
    """A credential that is a piece of a protocol's code, or all of it, does not change what the server said."""
    for secret in (code, code[0], code.partition("_")[0]):
        assert said({"error": code, "error_description": f"not {secret}"}, (secret,))[0] == code
        assert said({"error": f"{code}x"}, (secret,))[0] != f"{code}x"
    assert said({"error": code, "error_description": f"no {code}"}, (code,)) == (code, "no …")


@pytest.mark.parametrize(
    "spell",
    [
        lambda secret: quote(secret, safe=""),
        quote,
        quote_plus,
        lambda secret: re.sub("%..", lambda escape: escape[0].lower(), quote(secret, safe="")),
        lambda secret: json.dumps(secret)[1:-1],
        lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
        lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
        html.escape,
        lambda secret: html.escape(secret).replace("&#x27;", "&#039;"),
        lambda secret: base64.b64encode(secret.encode()).decode(),
        lambda secret: base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
        lambda secret: quote_plus(base64.b64encode(secret.encode()).decode()),
    ],
)
@pytest.mark.parametrize("secret", ["hunter 2+2/é&<\"'\\>?", "ñandú🦤%2F~", "A B/C=Ñ", "\\u00e9-%c3%a9 "])
def test_no_spelling_of_a_secret_stays(secret: str, spell: Callable[[str], str]) -> None:
    """A server that echoes the request, in whatever spelling, puts no secret into an error."""
    for echo in (spell(secret), f"grant_type=password&password={spell(secret)}&x=1", f"[{spell(secret)}] {secret}"):
        parts = said({"error": echo, "error_description": echo}, (secret,))
        assert all(spell(secret) not in (part or "") and secret not in (part or "") for part in parts)
    assert said({"message": f"no: {spell(secret)}."}, (secret,)) == (None, "no: ….")


def test_the_longest_secret_goes_first() -> None:
    """A secret that is the beginning of another one leaves nothing of that one."""
    assert said({"message": "is pass-word-2"}, ("pass", "pass-word-2")) == (None, "is …")


def test_an_endless_message_costs_little() -> None:
    """A message of a megabyte is looked at only in part, and no part of a secret stays at its cut."""
    secret, started = "-".join("abcdefgh" * 10), time.process_time()
    _, text = said({"message": f"{secret} " * 20_000}, (secret, "x" * 5000))
    assert time.process_time() - started < 1
    assert text is not None
    assert "a-b" not in text


@pytest.mark.parametrize("length", [199, 200, 201, 10_000])
def test_messages_are_short(length: int) -> None:
    """A message has at most 200 characters; a longer one ends in an ellipsis."""
    _, text = said({"message": "x" * length}, ())
    assert text is not None
    assert len(text) == min(length, 200)
    assert text.endswith("…") == (length > 200)


@pytest.mark.parametrize("length", [255, 256, 257, 70_000, 900_000])
def test_a_long_secret_is_recognised_by_its_beginning(length: int) -> None:
    """However long what was sent is, and wherever the answer was cut, no part of it is shown."""
    secret = "Ab+9" * (length // 4) + "x" * (length % 4)
    for echo in (secret, base64.b64encode(secret.encode()).decode(), quote_plus(secret)):
        assert said({"message": f"no: {echo}"}, (secret,)) == (None, "no: …")


@pytest.mark.parametrize("length", [5_000, 500_000])
def test_a_message_that_nearly_repeats_a_long_secret_costs_little(length: int) -> None:
    """A server that gave us a long token can't stop the event loop with a message that nearly holds it."""
    started = time.process_time()
    said({"message": "x" * 1_000_000}, ("x" * length + "y",))
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize(
    ("document", "code", "text"),
    [
        ("Invalid credentials\n", None, "Invalid credentials"),
        (["No."], None, "No."),
        ("error=invalid_client&error_description=Who%20are+you", "invalid_client", "Who are you"),
        (None, None, None),
        ([], None, None),
        ({"detail": "No active account"}, None, "No active account"),
        ({"details": "incorrect username or password"}, None, "incorrect username or password"),
        ({"msg": "app secret invalid", "code": 10014}, None, "app secret invalid"),
        ({"errcode": 40013, "errmsg": "invalid appid"}, None, "invalid appid"),
        ({"reason": "No."}, None, "No."),
        ({"title": "Unauthorized", "detail": "No.", "type": "about:blank"}, None, "No."),
        ({"title": "Unauthorized", "type": "about:blank"}, None, "Unauthorized"),
        ({"errorMessage": "No."}, None, "No."),
        ({"errorSummary": "No.", "errorCode": "E0000011"}, "E0000011", "No."),
        ({"Message": "No."}, None, "No."),
        ({"Error": "No way."}, None, "No way."),
        ({"Error": "invalid_grant"}, "invalid_grant", None),
        ({"error": {"code": "bad_key", "message": "No."}}, "bad_key", "No."),
        ({"error": {"code": 190, "type": "OAuthException", "message": "Expired"}}, "OAuthException", "Expired"),
        ({"error": {"code": -304, "message": {"lang": "en-us", "value": "Fail to get credentials"}}}, None,
         "Fail to get credentials"),
        ({"errors": ["invalid role or secret ID"]}, None, "invalid role or secret ID"),
        ({"errors": [{"errorType": "invalid_grant", "message": "Refresh token invalid"}], "success": False},
         "invalid_grant", "Refresh token invalid"),
        ({"Status": 401, "Errors": [{"Code": "unauthorized", "Message": "Verify the access key"}]}, "unauthorized",
         "Verify the access key"),
        ({"message": "Bad Request", "errors": [{"code": "invalid", "field": "refresh_token"}]}, "invalid",
         "Bad Request"),
        ({"message": ["password should not be empty"], "error": "Bad Request"}, None, "password should not be empty"),
        ({"detail": [{"loc": ["body"], "msg": "field required"}]}, None, "field required"),
        ({"non_field_errors": ["Unable to log in."]}, None, "Unable to log in."),
        ({"errcode": "M_FORBIDDEN", "error": "Invalid password"}, "M_FORBIDDEN", "Invalid password"),
        ({"code": "invalidClientIdOrSecret", "message": "无效的clientId"}, "invalidClientIdOrSecret", "无效的clientId"),
        ({"error_description": "access_denied", "error": "server_error"}, "server_error", "access_denied"),
        ({"error": "invalid_client", "error_description": None}, "invalid_client", None),
        ({"status": 503, "body": {}, "error": "Invalid Params: invalid refresh_token"}, None,
         "Invalid Params: invalid refresh_token"),
        ({"data": {"error": "invalid_grant", "message": "No."}}, "invalid_grant", "No."),
        ({"response": {"status": {"message": "No."}}}, None, "No."),
        ({"fault": {"faultstring": "Invalid key", "detail": {"errorcode": "oauth.v2.InvalidKey"}}},
         "oauth.v2.InvalidKey", "Invalid key"),
        ({"Envelope": {"Body": {"Fault": {"faultcode": "ns1:coe.no", "faultstring": "No."}}}}, "ns1:coe.no", "No."),
        ({"__type": "com.amazonaws#NotAuthorizedException", "message": "No."}, "com.amazonaws#NotAuthorizedException",
         "No."),
        ({"error_type": "UNAUTHENTICATED", "messages": [{"default_message": "No.", "id": "x"}]}, "UNAUTHENTICATED",
         "No."),
        ({"ErrorResponse": {"Error": {"Type": "Sender", "Code": "Throttling", "Message": "Rate exceeded"}}},
         "Throttling", "Rate exceeded"),
        ({"response": {"messages": {"msg": "Login failed"}}}, None, "Login failed"),
        ({"response": {"status": "error", "code": "403", "result": {"msg": "No."}}}, None, "No."),
        ({"data": {"title": "Mr", "type": "user", "code": "x-1", "description": "a person"}}, None, None),
        ({"value": "se-cret-value"}, None, None),
        ({"a": {"b": {"c": {"d": {"e": {"message": "too deep"}}}}}}, None, None),
        ({"Envelope": {"Body": {"Fault": {"Code": {"Value": "S:Sender"}, "Reason": {"Text": "No."}}}}}, None, "No."),
        ({"codigo": 7, "descripcion": "Usuario no existe"}, None, "Usuario no existe"),
        ({"error": {"glosa": "Firma inválida"}}, None, "Firma inválida"),
        ({"text": "se-cret-value", "data": {"text": "se-cret-value"}}, None, None),
        ({"error": "temporarily_unavailable. "}, None, "temporarily_unavailable."),
        ({"error": 401, "message": "Unauthorized"}, None, "Unauthorized"),
        ({"error": "401"}, None, "401"),
    ],
)  # fmt: skip
def test_words_are_found_wherever_servers_write_them(document: object, code: str | None, text: str | None) -> None:
    """In the fields of many systems, in what holds errors, one wrapper down, in XML, in a plain text."""
    assert said(document) == (code, text)


def test_declared_words_go_first() -> None:
    """They are cleaned and bounded as those that are searched for."""
    document = {"error": "invalid_grant", "message": "No."}
    assert server_message(document, Redactor(("s3cret",)), "bad s3cret\n" + "x" * 500) == (
        "invalid_grant",
        "bad … " + "x" * 193 + "…",
    )


def test_numbers_are_codes_that_are_not_shown() -> None:
    """A declaration can name them."""
    assert list(error_codes({"error": {"code": 190, "type": "OAuthException"}, "code": 4, "errcode": True})) == [
        "4",
        "190",
        "OAuthException",
    ]


@pytest.mark.parametrize(
    "made",
    [
        lambda: {str(number): number for number in range(100_000)},
        lambda: {str(number): {"x": {"y": {"z": 1}}} for number in range(20_000)},
        lambda: {"errors": [[{"message": "x"}] * 100_000]},
        lambda: {f"ERROR_{'_' * 1000}{number}": {} for number in range(900)},
    ],
    ids=["members", "levels", "items", "long names"],
)
def test_a_search_in_a_large_answer_costs_little(made: Callable[[], object]) -> None:
    """Neither many members nor many levels are searched in full."""
    document = made()
    started = time.process_time()
    assert said(document) == (None, None)
    assert time.process_time() - started < 0.1
