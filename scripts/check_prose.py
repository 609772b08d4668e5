"""Searches all prose for phrases and sentences that are hard to read once.

Prose is: Markdown outside of code, docstrings, comments, and the texts that the package shows (strings of three words
or more). prose.toml, in the same folder, has the rules and the exceptions with their reasons.

Run: python scripts/check_prose.py [--count] [FILE …]
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).parent.parent
RULES = Path(__file__).with_name("prose.toml")
PAGES = ("*.md", "docs/**/*.md", "tests/**/*.md", "benchmarks/*.md", "examples/*.md")
CODE = ("asyncauth/**/*.py", "*.py", "scripts/*.py", "docs/*.py", "benchmarks/*.py", "examples/*.py", "tests/**/*.py")
# Spanish; written by a program; kept as evidence.
LEFT_OUT = ("docs/es/", "docs/_build/", "docs/mutation.md", "benchmarks/results/", "tests/fuzz/corpus/")
_FENCE = re.compile(r"^( *)(`{3,}|~{3,}|:{3,}).*?^\1\2[ ]*$", re.MULTILINE | re.DOTALL)
_MARKUP = re.compile(r"^#.*$|^\([\w-]+\)=$|^\|[-| :]+\|$|<!--.*?-->|^---$", re.MULTILINE)
_ENTRY = re.compile(r"\n(?= *(?:[-*] |\d+\. |: |\||>|[\w*`, ]+: |\.\. ))")
_AS_IT_IS = re.compile(r"\x08\n.*?(?:\n\n|\Z)", re.DOTALL)
"""The parts of the command line's help that keep their own lines: examples and lists."""
_WORD = re.compile(r"\w[\w'\u2019.,/%-]*")
_CODE, _LINK = re.compile(r"``?[^`]+``?"), re.compile(r"\]\([^)]*\)")
_SENTENCE = re.compile(r"(?<=[.?!:])[)\"*]*\s+")
NO_VERBS = re.compile(r"(?:A|All|An|Each|How|If|Its?|No|Nothing|Some|That|The|What|When|Where|Whether|Which|Who)\b")
"""First words that are not verbs, with which no function's docstring in the package may begin."""
SHORTEST_TEXT = 3
"""The fewest words of a string that count as a sentence."""


@attrs.frozen
class Rule:
    """A pattern to search for, and what to write instead."""

    name: str
    pattern: re.Pattern[str]
    instead: str


@attrs.frozen
class Text:
    """A piece of prose: its kind, its first line's number, and its text."""

    kind: str
    line: int
    text: str


@attrs.frozen
class Finding:
    """A place to rewrite."""

    path: str
    line: int
    kind: str
    rule: str
    shown: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.shown!r} ({self.rule}: {self.instead})"


def _pieces(kind: str, line: int, text: str) -> Iterator[Text]:
    """Split prose into the units that are read at once: a paragraph, an entry of a list, a cell of a table."""
    at = 0
    for entry in re.split(rf"\n[ ]*\n|{_ENTRY.pattern}", text):
        at = text.index(entry, at)
        where = line + text.count("\n", 0, at)
        cells = re.split(r"(?<!\\)\||<br>", entry) if entry.lstrip().startswith("|") else [entry]
        for cell in cells:
            if cleaned := " ".join(cell.split()):
                yield Text(kind, where, cleaned)
        at += len(entry)


def _blank(match: re.Match[str]) -> str:
    return "\n" * match[0].count("\n")


def of_page(text: str) -> Iterator[Text]:
    """Return the prose of a page in Markdown."""
    yield from _pieces("page", 1, _MARKUP.sub(_blank, _FENCE.sub(_blank, text)))


def _documented(tree: ast.Module) -> dict[int, ast.Constant]:
    """Return the docstrings, those of attributes too, by identity."""
    alone = (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))
    return {id(node): node for node in alone if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def of_code(text: str, *, shown: bool) -> Iterator[Text]:
    """Return the prose of a module: docstrings, comments and, if ``shown``, its texts for people."""
    tree = ast.parse(text)
    docstrings = _documented(tree)
    for node in docstrings.values():
        body = _AS_IT_IS.sub(_blank, str(node.value))
        literal = re.sub(r"::\n\n(?:[ ]{4,}.*\n|\n)+", _blank, body)  # an indented example
        yield from _pieces("docstring", node.lineno, literal)
    block: list[tokenize.TokenInfo] = []
    for token in [*tokenize.generate_tokens(io.StringIO(text).readline), None]:
        if (
            token is not None
            and token.type == tokenize.COMMENT
            and not re.match(r"# *(?:noqa|type:|!|fmt:)", token.string)
        ):
            block.append(token)
        elif block and (token is None or token.type not in {tokenize.NL, tokenize.COMMENT, tokenize.NEWLINE}):
            lines = (re.sub(r"  # noqa.*|noqa: [\w, ]+", "", each.string.lstrip("#: ")) for each in block)
            yield from _pieces("comment", block[0].start[0], "\n".join(lines))
            block = []
    if shown:
        yield from _strings(tree, docstrings)


def _strings(tree: ast.Module, docstrings: dict[int, ast.Constant]) -> Iterator[Text]:
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "CODE" for part in node.values)
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside | set(docstrings)
        ):
            text = node.value
        else:
            continue
        text = _AS_IT_IS.sub("", text)
        if len(text.split()) >= SHORTEST_TEXT:
            yield Text("text", node.lineno, " ".join(text.split()))


def verbless(text: str) -> Iterator[Text]:
    """Return the first lines of functions' docstrings that do not begin with a verb; properties are nouns."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not (said := ast.get_docstring(node)):
            continue
        marks = " ".join(map(ast.unparse, node.decorator_list))
        if NO_VERBS.match(said) and not re.search(r"property|setter", marks):
            yield Text("docstring", node.lineno, said.partition("\n")[0])


def texts_of(path: Path) -> Iterator[Text]:
    """Return the prose of a file."""
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT).as_posix()
    return of_page(text) if path.suffix == ".md" else of_code(text, shown=name.startswith("asyncauth/"))


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a piece of prose, with code as one word."""
    return _SENTENCE.split(_CODE.sub("CODE", _LINK.sub("]", text)))


@attrs.define
class Check:
    """The rules and the exceptions."""

    rules: list[Rule]
    longest: int
    allowed: list[dict[str, str]]
    without_verbs: frozenset[str]

    @classmethod
    def read(cls) -> Check:
        """Read prose.toml."""
        found = tomllib.loads(RULES.read_text(encoding="utf-8"))
        rules = [
            Rule(each["name"], re.compile(each["pattern"], re.IGNORECASE), each["instead"]) for each in found["rules"]
        ]
        tests = frozenset(each["file"] for each in found["without_verbs"])
        return cls(rules, found["longest_sentence"], found.get("allowed", []), tests)

    def look(self, name: str, texts: Iterator[Text]) -> Iterator[Finding]:
        """Return the findings in a file's prose."""
        excused = [each["text"] for each in self.allowed if each["file"] == name]
        for each in texts:
            plain = _CODE.sub(lambda match: match[0] if "None" in match[0] else "CODE", _LINK.sub("]", each.text))
            for rule in self.rules:
                for match in rule.pattern.finditer(plain):
                    if not any(text in plain and match[0] in text for text in excused):
                        yield Finding(name, each.line, each.kind, rule.name, match[0], rule.instead)
            for sentence in sentences_of(each.text):
                words = len(_WORD.findall(sentence))
                if words > self.longest and not any(text in each.text for text in excused):
                    shown = " ".join(sentence.split()[:8]) + " …"
                    yield Finding(name, each.line, each.kind, "long sentence", shown, f"{words} words: make two of it")


def look_at(check: Check, path: Path) -> list[Finding]:
    """Return the findings in a file."""
    name = path.relative_to(ROOT).as_posix()
    found = list(check.look(name, texts_of(path)))
    if name.startswith("asyncauth/") and name not in check.without_verbs:
        instead = "'Return the …', 'Close …'"
        nouns = verbless(path.read_text(encoding="utf-8"))
        found += [Finding(name, each.line, each.kind, "verb first", each.text, instead) for each in nouns]
    return found


def files(names: list[str]) -> list[Path]:
    """Return the files to search: these, or all that have prose."""
    found = [Path(name).resolve() for name in names] or [path for glob in (*PAGES, *CODE) for path in ROOT.glob(glob)]
    return sorted(path for path in set(found) if not path.relative_to(ROOT).as_posix().startswith(LEFT_OUT))


def main() -> None:
    """Search all files, and exit with 1 if there are findings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--count", action="store_true", help="count words, long sentences and findings by kind")
    given = parser.parse_args()
    check = Check.read()
    if given.count:
        _count(check, given.files)
        return
    found = [finding for path in files(given.files) for finding in look_at(check, path)]
    for each in found:
        print(each)
    sys.exit(bool(found))


def _count(check: Check, names: list[str]) -> None:
    words, long, hits = Counter[str](), Counter[str](), Counter[str]()
    for path in files(names):
        for each in texts_of(path):
            for sentence in sentences_of(each.text):
                number = len(_WORD.findall(sentence))
                words[each.kind] += number
                long[each.kind] += number > 30  # noqa: PLR2004 (what a reader notices)
        for finding in look_at(check, path):
            hits[finding.kind] += finding.rule != "long sentence"
    print("| kind | words | sentences over 30 words | word list |\n|---|---|---|---|")
    for kind in words:
        print(f"| {kind} | {words[kind]:,} | {long[kind]} | {hits[kind]} |")


if __name__ == "__main__":
    main()
