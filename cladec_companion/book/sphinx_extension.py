"""Sphinx extension: definitions where a term is pointed at, and pages that can be used without a mouse."""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

GLOSSARY = "book/glossary"
SLIDES = "book/slides_"
FIGURE = re.compile(r'(<figure[^>]*>\s*)(<img\b[^>]*\bsrc="([^"]+)"[^>]*>)')


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("doctree-resolved", show_definitions)
    app.connect("html-page-context", mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def show_definitions(app: Sphinx, doctree: nodes.document, name: str) -> None:
    """Give each link to a term the definition as its title; the link itself leads to the glossary."""
    links = [
        link
        for link in doctree.findall(nodes.reference)
        if any("std-term" in part["classes"] for part in link.findall(nodes.inline))
    ]
    if not links:
        return
    definitions = {
        place: item.next_node(nodes.definition).astext().replace("\n", " ")
        for item in app.env.get_doctree(GLOSSARY).findall(nodes.definition_list_item)
        for place in item.next_node(nodes.term)["ids"]
    }
    for link in links:
        place = link.get("refid") or link.get("refuri", "").partition("#")[2]
        link["reftitle"] = definitions[place]


def mend(app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Let wide tables be scrolled by keyboard and figures be opened alone, and mend what is called a list and is none.

    A figure of many panels is small on a phone, where its file can be enlarged; a slide has its own use of a touch.
    References have entries that do not fit that role; the lines of a signature are definitions without a term.
    """
    if "body" in context:
        body = re.sub(r'<table(?=[^>]*class="dataframe)', '<table tabindex="0"', context["body"])
        body = body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
        body = body.replace("<dl>\n<dd>", '<dl role="presentation">\n<dd>')
        if not name.startswith(SLIDES):
            body = FIGURE.sub(r'\1<a class="reference internal image-reference" href="\3">\2</a>', body)
        context["body"] = body
