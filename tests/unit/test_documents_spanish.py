"""The Spanish pages and the sandbox's page use one word for each thing, and the same one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "es").glob("*.md"))}
TEXTS: dict[str, str] = json.loads(
    (ROOT / "asyncauth" / "sandbox" / "page" / "static" / "texts.json").read_text(encoding="utf-8")
)["es"]

OTHER_WORDS = {
    "solicitud": r"petici[oó]n(?:es)?|requests?",
    "encabezado": r"cabeceras?|headers?",
    "renovar": r"refresc\w+|actualizar el token",
    "access token": r"tokens? de acceso",
    "refresh token": r"tokens? de (?:actualizaci[oó]n|renovaci[oó]n|refresco)",
    "vigente": r"tokens? (?:vivos?|v[aá]lidos?)",
    "vencido": r"(?:expir|caduc)(?:a|an|ar|ó|aron|ad[oa]s?)",
    "incorrecto": r"erróne[oa]s?|contraseña equivocada|credencial(?:es)? equivocadas?",
    "contraseña": r"claves? de acceso|password",
    "almacén": r"almacenamiento|repositorio de tokens|tienda de tokens",
    "endpoint de tokens": r"servidor de tokens|endpoint para tokens",
    "ambiente": r"entornos? de (?:QA|desarrollo|producción)",
    "tú": r"usted(?:es)?|vos|podés|tenés|querés|guardá|usá",
}
"""By the word that is used: what else one might say, as a regular expression."""


def prose(page: str) -> str:
    """Return a page without its code, its addresses and its glossary."""
    page = page.partition("## Las palabras")[0]
    page = re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`]*`|<[^>]*>|\]\([^)]*\)", "", page)


@pytest.mark.parametrize("word", OTHER_WORDS)
def test_one_word_for_each_thing(word: str) -> None:
    """No second word stands for the same thing, in the pages' prose and on the sandbox's page."""
    other = re.compile(rf"\b(?:{OTHER_WORDS[word]})\b", re.IGNORECASE)
    found = {name: other.findall(prose(page)) for name, page in PAGES.items()}
    found |= {key: other.findall(text) for key, text in TEXTS.items()}
    assert {name: words for name, words in found.items() if words} == {}


def test_the_glossary_s_words_are_used() -> None:
    """Each word that the index explains is used in another page, in one form or another."""
    rows = re.findall(
        r"^\| ([^|]+) \| [^|]+ \| [^|]+ \|$", PAGES["index"].partition("## Las palabras")[2], re.MULTILINE
    )
    words = [word for row in rows if row != "aquí" and not row.startswith("-") for word in row.split(", ")]
    assert len(words) > 15
    others = " ".join(prose(page) for name, page in PAGES.items() if name != "index").lower()
    assert [word for word in words if word.lower()[:-2] not in others] == []


def test_faults_have_one_name() -> None:
    """The page about tests calls each fault what the sandbox's page calls it."""
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", PAGES["pruebas"], re.MULTILINE))
    named = {key.removeprefix("fault."): text for key, text in TEXTS.items() if re.fullmatch(r"fault\.\w+", key)}
    assert rows == named


def test_every_page_is_in_the_table_of_contents() -> None:
    """A page that is written can be found."""
    (listed,) = re.findall(r"^```\{toctree\}\n(.*?)^```$", PAGES["index"], re.DOTALL | re.MULTILINE)
    assert {line for line in listed.split() if line in PAGES} == set(PAGES) - {"index"}
