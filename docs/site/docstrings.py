"""The docstrings of npl0 as reStructuredText.

They are plain text in numpydoc sections, whose entries read `names : what they are`. Nothing in them is markup except
backticks around code, so everything else is escaped; what is indented is shown as it is, since equations are.
"""

import re
from collections.abc import Iterable

from sphinx.application import Sphinx

import npl0

SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)
# Entries stand on lines of their own, or behind one another: `rate : in [0, 1); seed : at least 0`.
ENTRIES = re.compile(r"\n(?=\S)|; (?=[\w*, ]+ : )")


def escaped(text: str) -> str:
    """Return a text with backticks as code, and without any other markup."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(f"`{part}`" if part[0] == "`" else re.sub(r"([\\*|_])", r"\\\1", part) for part in parts if part)


def paragraphs(text: str) -> Iterable[str]:
    """Yield the paragraphs of a text; indented ones become blocks of code."""
    for part in re.split(r"\n\s*\n", text.strip("\n")):
        if part.startswith("    "):
            yield "::\n\n" + part
        elif part.startswith("- "):
            yield re.sub(r"\n(?!-)\s*", "\n  ", escaped(part))
        else:
            yield escaped(part)


def entries(text: str) -> Iterable[str]:
    """Yield the entries of a section as items of a list, `names : text` and a name above an indented text alike."""
    for item in ENTRIES.split(text.strip("\n")):
        name, found, rest = item.partition(" : ")
        if not found:
            name, _, rest = item.partition("\n")
        words = escaped(" ".join(rest.split()))
        names = ", ".join(f"``{word.strip()}``" for word in name.split(","))
        yield f"- {names}: {words}" if words else f"- {names}"


def convert(docstring: str) -> str:
    """Return a docstring as reStructuredText."""
    first, *rest = SECTION.split(docstring)
    parts = list(paragraphs(first))
    for title, body in zip(rest[::2], rest[1::2], strict=True):
        # A table of several columns, or a text, is no list of entries.
        listed = title in ("Parameters", "Attributes", "Raises", "Returns", "Warns", "Yields")
        parts.append(f".. rubric:: {title}")
        parts += ["\n".join(entries(body))] if listed else paragraphs(body)
    return "\n\n".join(parts) + "\n"


def process(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    lines[:] = convert("\n".join(lines)).splitlines()


def public_once(app: Sphinx, what: str, name: str, thing: object, skip: bool, options: object) -> bool | None:
    """Leave out of the rooms what the page of the public names shows; None leaves the decision to others."""
    elsewhere = what == "module" and getattr(npl0, name, None) is thing and app.env.docname != "api/npl0"
    return True if elsewhere else None


def no_object(app: Sphinx, name: str, thing: type, options: object, bases: list[type]) -> None:
    """Drop the base that every class has."""
    bases[:] = [base for base in bases if base is not object]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-skip-member", public_once)
    app.connect("autodoc-process-bases", no_object)
    return {"parallel_read_safe": True}
