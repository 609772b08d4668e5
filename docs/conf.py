"""How Sphinx builds these pages: ``make docs``."""

from __future__ import annotations

import importlib
import sys
from gettext import translation
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sphinx
from sphinx.ext.intersphinx import missing_reference

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent)]

from shown_signatures import show_values  # noqa: E402 (it is found there)

project = "asyncauth"
author = "The asyncauth authors"
copyright = "The asyncauth authors"
version = release = version_of("asyncauth")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
suppress_warnings = ["toc.empty_glob"]  # a section lists what is there

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
html_title = "asyncauth"
html_static_path = ["static"]
html_css_files = ["pages.css"]
html_show_sphinx = False
html_copy_source = False

default_role = "py:obj"
python_maximum_signature_line_length = 88
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

# Kept here, so that a build needs no network: what we refer to, with its page, in the plain form of an inventory
# (version 1 of the format). A name that is missing there is a warning, and so an error.
_INVENTORIES = Path(__file__).parent / "inventories"
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", str(_INVENTORIES / "python.txt")),
    "aiohttp": ("https://docs.aiohttp.org/en/stable", str(_INVENTORIES / "aiohttp.txt")),
    "attrs": ("https://www.attrs.org/en/stable", str(_INVENTORIES / "attrs.txt")),
}
nitpick_ignore_regex = [
    # Classes of libraries without an inventory here, and a type variable.
    ("py:class", r"(?:yarl|httpx)\..*|asyncauth\.pool\.Key"),
]

PUBLIC_MODULES = ("asyncauth", "asyncauth.events", "asyncauth.stores", "asyncauth.testing", "asyncauth.sandbox")


def _public_names() -> dict[str, str]:
    """Return where the reference has each public name: ``{"Token": "asyncauth.Token"}``."""
    found: dict[str, str] = {}
    for module in PUBLIC_MODULES:
        for name in importlib.import_module(module).__all__:
            found.setdefault(name, f"{module}.{name}")
    return (
        found
        | {name: f"asyncauth.providers.{name}" for name in ("ClientAuth", "CredentialLike", "Several")}
        | {"Listener": "asyncauth.events.Listener", "Checked": "asyncauth.telemetry.health.Checked"}
    )


# As annotations name them, and as their own pages do.
_ELSEWHERE = {
    "aiohttp.client.ClientSession": "aiohttp.ClientSession",
    "aiohttp.web_request.Request": "aiohttp.web.Request",
    "aiohttp.web_response.Response": "aiohttp.web.Response",
    "aiohttp.web_response.StreamResponse": "aiohttp.web.StreamResponse",
    "deque": "collections.deque",
    "web.Request": "aiohttp.web.Request",
    "web.Response": "aiohttp.web.Response",
    "web.StreamResponse": "aiohttp.web.StreamResponse",
}


def _keep_first_lines(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:  # noqa: ARG001, PLR0917 (Sphinx calls it so)
    """Have napoleon read no type out of a property's first line, where it would take what stands before a colon.

    Of a constant, leave out the docstring of its type: its page says what it is.
    """
    if what == "data" and lines and lines[0].startswith("str(object="):
        lines.clear()
    if what in {"property", "attribute", "data"}:
        lines[:0] = ["..", ""]  # an empty comment


def _keep_options_together() -> None:
    """Have a grant's signature say ``**options``: `OAuthOptions` is described once, and not with each grant."""
    module = importlib.import_module("asyncauth")
    for name in module.__all__:
        thing = getattr(module, name)
        if isinstance(thing, type) and "options" in getattr(thing.__init__, "__annotations__", ()):
            vars(thing.__init__).pop("__signature__", None)


def _resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element) -> nodes.Node | None:
    """Find a name that a docstring gives as its reader knows it (``Token.extra``), or by the module that holds it.

    What is not a public name at all, a field or a server's word in single backticks, is shown as it is.
    """
    if node.get("refdomain") != "py":
        return None
    target: str = node["reftarget"]
    if target in _ELSEWHERE:
        node["reftarget"] = _ELSEWHERE[target]
        return missing_reference(app, env, node, content)
    parts = target.removeprefix("~").split(".")
    domain: Any = env.domains["py"]
    for start in range(len(parts)):
        public = app.config.public_names.get(parts[start])
        if public is not None:
            full = ".".join([public, *parts[start + 1 :]])
            where = node.get("refdoc", env.docname)
            found: list[tuple[str, nodes.Node]] = domain.resolve_any_xref(env, where, app.builder, full, node, content)
            if found:
                return found[0][1]
    # An annotation's bare name that is not public: a type variable, a class of ours that a reader has no need to name.
    return content if node.get("reftype") == "obj" or len(parts) == 1 else None


# The theme's words, as far as Sphinx's own catalog lacks them, or has others than these pages.
_THEME_IN_SPANISH = {
    "Back to top": "Volver arriba",
    "Home": "Inicio",
    "Link to this code": "Enlace a este código",
    "Link to this heading": "Enlace a este título",
    "Link to this table": "Enlace a esta tabla",
    "Made with": "Hecho con",
    "Next": "Siguiente",
    "On this page": "En esta página",
    "Previous": "Anterior",
    "Search": "Buscar",
    "Skip to content": "Saltar al contenido",
}
_SPHINX_IN_SPANISH = translation("sphinx", Path(sphinx.__file__).parent / "locale", ["es"])


def _in_spanish(text: str) -> str:
    """Return a text of the theme in Spanish, with the blanks around it; or as it is, if it has no translation."""
    word = text.strip()
    return text.replace(word, _THEME_IN_SPANISH.get(word) or _SPHINX_IN_SPANISH.gettext(word)) if word else text


def _speak_spanish(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:  # noqa: ARG001 (Sphinx calls it so)
    """Mark the Spanish pages as Spanish, for screen readers and browsers, and let the theme speak Spanish there.

    A build of Sphinx has one language. In a template, what the page's context defines hides what is global.
    """
    if pagename.startswith("es/"):
        context.update(language="es", _=_in_spanish, gettext=_in_spanish)
        for word, spanish in _THEME_IN_SPANISH.items():
            context["body"] = context["body"].replace(f'title="{word}"', f'title="{spanish}"')


def setup(app: Sphinx) -> None:
    """Let Sphinx know of what is above."""
    app.add_config_value("public_names", _public_names(), "")
    app.connect("missing-reference", _resolve)
    app.connect("autodoc-process-docstring", _keep_first_lines, priority=100)  # before napoleon
    app.connect("autodoc-process-signature", show_values)
    _keep_options_together()
    app.connect("html-page-context", _speak_spanish)
