"""Write the generated parts of docs/command.md: tables of flags, models and presets, made from the code.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`; the text around it is written by hand.

Usage: python experiments/make_command_page.py [--check]
"""

import argparse
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

from npl0.__main__ import COMMANDS
from npl0.cli.run import build_parser
from npl0.declare import allowed_range, declared
from npl0.nn.models import MODELS, build_model
from npl0.settings.flags import Parser, flag_name
from npl0.settings.presets import INIT_PRESETS, METHOD_PRESETS, MODEL_PRESETS, QUICK
from npl0.settings.sections import SECTIONS, RunConfig

PAGE = Path(__file__).parent.parent / "docs" / "command.md"
PART = re.compile(r"<!-- generated: (\w+) -->\n.*?<!-- end -->", re.DOTALL)


def table(*rows: list[str]) -> str:
    """Return a Markdown table; the first row is its heading."""
    heading, *others = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([heading, "|" + "---|" * len(rows[0]), *others])


def code(text: object) -> str:
    """Return a text as code, and no text as nothing."""
    return f"`{text}`" if text != "" else ""


def settings() -> str:
    """Return the flags that are settings of a run, a table for each group of the command's help."""
    titles = {group.title: group for group in build_parser()._action_groups}
    parts = []
    for title, (name, section) in zip(list(titles)[2:], {"": RunConfig, **SECTIONS}.items(), strict=False):
        rows = [
            [code(flag_name(name, e.name)), e.metadata["help"], allowed_range(e.metadata), code(e.default)]
            for e in declared(section)
        ]
        parts.append(f"**{title[0].upper()}{title[1:]}**\n\n" + table(["flag", "what", "allowed", "default"], *rows))
    return "\n\n".join(parts)


def options() -> str:
    """Return the flags that are no settings: where those come from, and how to run."""
    groups = build_parser()._action_groups[3 + len(SECTIONS) :]
    return "\n\n".join(
        f"**{group.title[0].upper()}{group.title[1:]}**\n\n{arguments(group._group_actions)}" for group in groups
    )


def arguments(actions: list[argparse.Action]) -> str:
    """Return a table of the arguments of a parser."""
    rows = []
    for action in actions:
        if action.dest == "help":
            continue
        value = "" if action.nargs == 0 else f" {action.metavar or '|'.join(action.choices)}"
        name = action.option_strings[-1] + value if action.option_strings else action.metavar
        rows.append([code(name.replace("|", "\\|")), action.help.replace("%%", "%")])
    return table(["argument", "what"], *rows)


def commands() -> str:
    """Return the other commands and their arguments."""
    parts = []
    for name in (name for name in COMMANDS if name != "run"):
        parser = parser_of(import_module(f"npl0.cli.{name}").main)
        # A description goes on in a paragraph of its own on the page.
        parts.append(f"### {name}\n\n{' '.join(parser.description.split())}\n\n{subcommands(parser, name)}")
    return "\n\n".join(parts)


def subcommands(parser: argparse.ArgumentParser, name: str) -> str:
    """Return the table of a parser's arguments, or that of its actions where it has some."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            rows = [
                [code(" ".join([name, choice.dest, *_positionals(action.choices[choice.dest])])), choice.help]
                for choice in action._choices_actions
            ]
            return table(["command", "what"], *rows)
    return arguments(parser._actions)


def _positionals(parser: argparse.ArgumentParser) -> list[str]:
    names = [(a.metavar, a.nargs) for a in parser._actions if not a.option_strings]
    return [f"[{name}]" if nargs == "?" else name for name, nargs in names]


class _Asked(Exception):
    """Leaves a command once its parser is complete."""


def parser_of(main: Callable) -> argparse.ArgumentParser:
    """Return the parser of a command, which makes it inside its `main`."""
    found = []

    def ask(parser: argparse.ArgumentParser, *_: object) -> None:
        found.append(parser)
        raise _Asked

    with patch.object(Parser, "parse_args", ask):
        try:
            main([], "python -m npl0")
        except _Asked:
            return found[0]
    raise RuntimeError(f"{main.__module__} made no parser")


def models() -> str:
    """Return the table of the built-in models."""
    rows = []
    for name, model in MODELS.items():
        network = build_model(name, seed=None)
        summary = list(network.summary())
        weights, macs = sum(row.weights for row in summary), sum(row.macs for row in summary)
        images = " x ".join(str(side) for side in network.input_shape)
        rows.append([code(name), model.title.partition(",")[0], images, f"{weights:,}", f"{macs:,}"])
    return table(["model", "what", "images", "weights", "multiply-adds an image"], *rows)


def presets() -> str:
    """Return the table of presets as flags."""

    def flags(preset: dict) -> str:
        found = []
        for key, value in preset.items():
            values = value if isinstance(value, dict) else {key: value}
            section = key if isinstance(value, dict) else ""
            found += [code(f"{flag_name(section, name)} {setting}") for name, setting in values.items()]
        return ", ".join(found)

    rows = [[code(f"--model {model}"), flags(preset)] for model, preset in MODEL_PRESETS.items()]
    for kind, several in {"": METHOD_PRESETS, " --init-from RUN": INIT_PRESETS}.items():
        rows += [[code(f"--model {m} --method {n}{kind}"), flags(preset)] for (m, n), preset in several.items()]
    return table(["with", "these defaults change"], *rows, [code("--quick"), flags(QUICK)])


PARTS = {part.__name__: part for part in (settings, options, commands, models, presets)}


def make(page: str) -> str:
    """Return the page with its generated parts made anew."""
    return PART.sub(lambda match: f"<!-- generated: {match[1]} -->\n{PARTS[match[1]]()}\n<!-- end -->", page)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is out of date")
    written = PAGE.read_text(encoding="utf-8")
    made = make(written)
    if parser.parse_args().check:
        raise SystemExit(0 if made == written else f"{PAGE} is out of date: run this script")
    PAGE.write_text(made, encoding="utf-8")
