"""The site: `python -m sphinx -W --keep-going -n docs build/site` (needs the extra `docs`, and no network)."""

import re
import sys
from pathlib import Path

import npl0

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "site"))

project, author, copyright = "npl0", "the authors of npl0", "the authors of npl0, MIT licence"
version = release = npl0.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "mathml", "docstrings"]
exclude_patterns = ["site", "tour/*.ipynb"]

# The pages are written for GitHub: dollars around mathematics, and links to headings by GitHub's anchors.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
highlight_language = "none"
html_math_renderer = "mathml"

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
# Types in signatures link where they have an entry; inner ones, and those of other packages, have none.
nitpick_ignore_regex = [("py:.*", ".*")]

html_theme = "furo"
html_title = f"npl0 {version}"
html_static_path = ["site/static"]
html_css_files = ["npl0.css"]
html_show_sphinx = html_copy_source = False
html_theme_options = {"light_css_variables": {"font-stack": "system-ui, sans-serif"}}

PICTURE = re.compile(r'<picture>\s*<source .*? srcset="(.*?)">\s*<img src="(.*?)" alt="(.*?)">\s*</picture>')
OUTSIDE = re.compile(r"\[([^]]*)\]\((?:\.\./)+(experiments/(?:README\.md|results))(?:#[^)]*)?\)")
IMAGE = "```{{image}} {}\n:alt: {}\n:class: only-{}\n```\n"


def adapt(app, docname, source):
    """Turn what GitHub shows into what the site shows: pictures by theme, and no links to pages outside this folder."""
    text = PICTURE.sub(lambda m: IMAGE.format(m[2], m[3], "light") + IMAGE.format(m[1], m[3], "dark"), source[0])
    up = "../" * docname.count("/")
    text = text.replace(f"]({up}../README.md", f"]({up}index.md")
    text = OUTSIDE.sub(lambda m: f"`{m[2]}`" if m[1] == m[2] else f"{m[1]} (`{m[2]}`)", text)
    source[0] = text + (contents(text) if docname == "index" else "")


def contents(index):
    """Return the hidden tables of contents that follow from the headings and links of the first page."""
    tables = ""
    for section in index.split("\n## ")[1:]:
        title, _, rest = section.partition("\n")
        pages = re.findall(r"\]\(([\w/-]+)\.md\)", rest)
        tables += "\n```{toctree}\n:hidden:\n:caption: " + "\n".join([title, "", *pages]) + "\n```\n"
    return tables + "\n```{toctree}\n:hidden:\n:caption: Reference\n\napi/index\n```\n"


def setup(app):
    app.connect("source-read", adapt)
