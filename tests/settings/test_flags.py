"""Flags: one for every setting, no abbreviations, and a suggestion of the nearest one."""

import dataclasses

import pytest

from npl0.settings.flags import Parser, add_config_flags, merge, settings_from
from npl0.settings.sections import SECTIONS, RunConfig


@pytest.fixture
def parser():
    parser = Parser(prog="test")
    add_config_flags(parser)
    return parser


def test_every_setting_has_a_flag_whose_help_names_range_and_default(parser):
    help_text = " ".join(parser.format_help().split())
    flags = {flag for action in parser._actions for flag in action.option_strings}
    for name, section in {"": RunConfig, **SECTIONS}.items():
        for field in dataclasses.fields(section):
            if field.metadata:
                prefix = "retrain-" if name == "retrain" else ""
                assert f"--{prefix}{field.name.replace('_', '-')}" in flags
    assert "learning rate of the weights (above 0, at most 100; default 0.002)" in help_text
    assert "2.2 opens 98 % of them" in help_text


def test_only_flags_that_were_given_become_settings(parser):
    assert settings_from(parser.parse_args([])) == {}
    given = parser.parse_args(
        ["--model", "lenet300", "--epochs", "3", "--retrain-epochs", "4", "--l0-lambda", "1e-2", "--compression", "9"]
    )
    assert settings_from(given) == {
        "model": "lenet300",
        "train": {"epochs": 3},
        "retrain": {"epochs": 4},
        "l0": {"l0_lambda": 0.01},
        "magnitude": {"compression": 9.0},
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epoch", "3"], "test: unknown argument '--epoch': did you mean '--epochs'?\n"),
        (["--l0-lamda=3"], "test: unknown argument '--l0-lamda': did you mean '--l0-lambda'?\n"),
        (["--lr", "1"], "test: unknown argument '--lr': did you mean '--learning-rate'?\n"),
        (["--gate-lr", "1"], "test: unknown argument '--gate-lr': did you mean '--gate-learning-rate'?\n"),
        (["--zzzzzz"], "test: unknown argument '--zzzzzz': see --help\n"),
        (["lenet5"], "test: unknown argument 'lenet5': see --help\n"),
        (["--epochs", "many"], "test: argument --epochs: invalid int value: 'many'\n"),
    ],
)
def test_usage_errors_are_one_line(parser, capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_of:
        parser.parse_args(arguments)
    assert exit_of.value.code == 2
    assert capsys.readouterr().err == message


def test_merge_goes_into_sections_and_modifies_neither_side():
    base, over = {"seed": 1, "train": {"epochs": 1, "momentum": 0.5}}, {"seed": 2, "train": {"epochs": 3}}
    assert merge(base, over) == {"seed": 2, "train": {"epochs": 3, "momentum": 0.5}}
    assert base == {"seed": 1, "train": {"epochs": 1, "momentum": 0.5}}
    assert merge({}, over) == over
