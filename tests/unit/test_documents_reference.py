"""The API reference shows values and public names, not what the code calls them inside."""

from __future__ import annotations

import inspect
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import asyncauth
import asyncauth.testing

ROOT = Path(__file__).parents[2]
SHOW: Any = runpy.run_path(str(ROOT / "docs" / "shown_signatures.py"))["show_values"]
CHECKS = runpy.run_path(str(ROOT / "scripts" / "check_site.py"))
COUNT: Any = CHECKS["internals_of"]


def shown(what: str, thing: object, signature: str | None, returned: str | None = None) -> Any:
    return SHOW(None, what, "name", thing, None, signature, returned)


@pytest.mark.parametrize(
    ("what", "thing", "signature", "seen"),
    [
        (
            "class",
            asyncauth.RefreshPolicy,
            "(renew_at: float = attr_dict['renew_at'].default)",
            "(renew_at: float = 0.8)",
        ),
        ("class", asyncauth.Token, "(issued_at: float = NOTHING)", "(issued_at: float = ...)"),
        ("class", asyncauth.Token, "(extra: dict = attr_dict['extra'].default)", "(extra: dict = ...)"),
        (
            "class",
            asyncauth.TokenManager,
            "(policy: RefreshPolicy = _DEFAULT_POLICY)",
            "(policy: RefreshPolicy = RefreshPolicy())",
        ),
        ("function", asyncauth.testing.mock_aiohttp.get, "(url: _Url)", "(url: str | URL | Pattern[str])"),
        (
            "function",
            asyncauth.client_session,
            "(a: ~asyncauth._core.sessions.Http)",
            "(a: ~asyncauth._core.sessions.Http)",
        ),
    ],
)
def test_a_signature_shows_values(what: str, thing: object, signature: str, seen: str) -> None:
    """A default is the value that a caller gets, and a type is one that a caller can name."""
    assert shown(what, thing, signature) == (seen, None)


def test_a_class_that_users_never_make_shows_no_constructor() -> None:
    """They get one from ``manager.blocking``; its argument is an object of the library's own."""
    assert shown("class", asyncauth.Blocking, "(engine: TokenEngine)") == ("", None)


def test_a_private_constant_is_shown_by_its_value() -> None:
    """The token type that `TokenExchange` names when a caller does not."""
    (found, _) = shown("class", asyncauth.TokenExchange, "(subject_token_type: str = _ACCESS_TOKEN)")
    assert found == "(subject_token_type: str = 'urn:ietf:params:oauth:token-type:access_token')"


def test_what_has_no_signature_stays_as_it_is() -> None:
    """An attribute, for one."""
    assert shown("attribute", "a text", None) is None


@pytest.mark.parametrize(
    "page",
    [
        "<article>renew_at = <span>attr_dict[</span>'renew_at'].default</article>",
        "<article>policy = _DEFAULT_POLICY</article>",
        "<article>str(object=&#8217;&#8217;) -&gt; str</article>",
        "<article>See there.</article>",
        "<article>&lt;object object at 0x7f1e2d3c&gt;</article>",
    ],
)
def test_the_built_reference_is_searched_for_internals(page: str) -> None:
    """``make docs`` fails on each of them."""
    assert COUNT(page).total() == 1


def test_values_and_special_methods_pass() -> None:
    """What a reader may see is not counted, nor what stands outside of the article."""
    assert not COUNT("<nav>_DEFAULT_POLICY</nav><article>renew_at: float = 0.8, __init__</article>")


@pytest.mark.parametrize(("word", "english"), [("Next", 1), ("Link to this heading", 1), ("Siguiente", 0)])
def test_the_theme_of_a_spanish_page_speaks_spanish(word: str, english: int) -> None:
    """``make docs`` fails on a word that stands in English between two tags, or in an attribute."""
    assert CHECKS["english_of"](f"<span> {word}</span>").total() == english
    assert CHECKS["english_of"](f'<a title="{word}"></a>').total() == english


def test_make_docs_runs_the_check() -> None:
    """The count is part of the build."""
    recipe = re.search(r"^docs: .*?(?=^\w)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert recipe
    assert "scripts/check_site.py" in recipe[0]
    assert inspect.isfunction(SHOW)
