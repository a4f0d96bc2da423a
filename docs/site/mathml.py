"""Mathematics as MathML, which browsers draw themselves: no script, no fonts, no network."""

import re
from xml.etree import ElementTree

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

SPACE = "{http://www.w3.org/1998/Math/MathML}"
# A function's name and a letter or command behind it have a thin space between them, but not before a bracket.
FUNCTION = re.compile(r"(\\(?:log|exp|max|min))(?=\s*(?!\\(?:left|[bB]igg?l)\b)[\\\w])")
LIMITS = {"msub": "munder", "msup": "mover", "msubsup": "munderover"}


def mathml(latex: str, display: str) -> str:
    r"""Convert LaTeX; `\cr`, which on GitHub ends a row, is spelt as the converter knows it."""
    tree = ElementTree.fromstring(convert(FUNCTION.sub(r"\1\\,", latex.replace(r"\cr", r"\\")), display=display))
    for element in tree.iter():
        tag = element.tag.removeprefix(SPACE)
        # The limits of a sum stand below and above it; browsers move them to its side in a line of text.
        if tag in LIMITS and element[0].text in ("∑", "∏"):
            element.tag = SPACE + LIMITS[tag]
        elif element.text == "‖":
            element.set("stretchy", "false")
        # Browsers do not draw `menclose`; the style sheet draws the box.
        elif tag == "menclose":
            element.tag, element.attrib = SPACE + "mrow", {"class": "boxed"}
    return ElementTree.tostring(tree, encoding="unicode")


def visit_inline(translator, node: nodes.math) -> None:
    translator.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def visit_block(translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math">{mathml(node.astext(), "block")}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    ElementTree.register_namespace("", SPACE.strip("{}"))
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True}
