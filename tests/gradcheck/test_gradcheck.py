"""Every hand-written backward pass against differences, the checker itself, and the command."""

import json
from dataclasses import replace

import numpy as np
import pytest

from npl0 import gradcheck
from npl0.__main__ import main


@pytest.mark.parametrize("check", gradcheck.CHECKS, ids=lambda check: check.name)
def test_backward_agrees_with_differences(check, workers):
    comparison = check.run(workers)
    assert comparison.passes(1e-6), comparison.worst
    assert comparison.entries > 0


def test_names_are_unique():
    names = [check.name for check in gradcheck.CHECKS]
    assert len(set(names)) == len(names)


def square(x):
    return x**2


def check_square(gradient, x, **settings):
    """Check a claimed gradient of the square."""
    return gradcheck.check_gradient(square, lambda g, x: [gradient(g, x)], [x], **settings)


def test_arrays_are_put_back():
    x = np.arange(1.0, 7.0).reshape(2, 3)
    before = x.copy()
    assert check_square(lambda g, x: 2 * x * g, x).passes()
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_an_error_is_found_at_any_scale(scale):
    x = np.arange(1.0, 4.0)

    def run(factor):
        return gradcheck.check_gradient(lambda x: scale * x**2, lambda g, x: [scale * factor * x * g], [x])

    assert run(2).passes()
    assert run(2.001).error == pytest.approx(5e-4, rel=1e-2)


def test_a_gradient_that_is_zero_on_one_side_only_fails():
    x = np.ones(3)
    assert check_square(lambda g, x: 0 * x, x).error == 1
    flat = gradcheck.check_gradient(lambda x: 0 * x, lambda g, x: [1e-6 * np.ones(3)], [x])
    assert flat.error == 1


@pytest.mark.parametrize("tiny", [0.0, 1e-30])
def test_a_gradient_that_is_zero_on_both_sides_is_refused(tiny):
    comparison = gradcheck.check_gradient(lambda x: 0 * x, lambda g, x: [np.full(3, tiny)], [np.ones(3)])
    assert not comparison.passes()
    assert "vanishes on both sides" in comparison.worst


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_fails(bad):
    comparison = check_square(lambda g, x: 2 * x * g * np.array([1, bad, 1]), np.ones(3))
    assert not comparison.passes()
    assert "not finite" in comparison.worst


def test_a_gradient_of_another_shape_fails_although_it_would_broadcast():
    comparison = check_square(lambda g, x: (2 * x * g)[:, None], np.ones(3))
    assert not comparison.passes()
    assert "has shape (3, 1), not (3,)" in comparison.worst


def test_the_place_of_an_error_is_reported():
    def wrong(g, x):
        gradient = 2 * x * g
        gradient[1, 2] *= 2
        return gradient

    assert "gradient 0 (1, 2): " in check_square(wrong, np.arange(1.0, 7.0).reshape(2, 3)).worst


def test_a_sample_of_a_large_array_is_compared():
    x = np.linspace(1, 2, 1000)
    comparison = check_square(lambda g, x: 2 * x * g, x, entries=25)
    assert (comparison.entries, comparison.total) == (25, 1000)
    assert comparison.passes()
    assert not check_square(lambda g, x: 3 * x * g, x, entries=25).passes()


@pytest.mark.parametrize("x", [np.ones(3, np.float32), np.ones((3, 4))[:, ::2]])
def test_arrays_that_are_not_contiguous_float64_are_refused(x):
    with pytest.raises(ValueError, match="C-contiguous float64 arrays only"):
        check_square(lambda g, x: 2 * x * g, x)


def test_a_missing_gradient_is_refused():
    with pytest.raises(ValueError, match="0 gradients were returned for 1 arrays"):
        gradcheck.check_gradient(square, lambda g, x: [], [np.ones(3)])


def test_command_prints_a_table_and_succeeds(capsys, monkeypatch):
    # All of them run above, one test each.
    monkeypatch.setattr("npl0.gradcheck.checks.CHECKS", gradcheck.CHECKS[::8])
    assert main(["gradcheck"]) == 0
    output = capsys.readouterr().out
    checks = len(gradcheck.CHECKS[::8])
    assert f"{checks} of {checks} checks pass" in output
    assert output.count("  ok\n") == checks
    assert "FAILED" not in output


def only(monkeypatch, factor):
    """Leave two checks to the command; the gradient of the second is multiplied by a factor."""

    def build(draw, *_):
        problem = good.build(draw, *good.case)
        return replace(problem, backward=lambda *arguments: [factor * g for g in problem.backward(*arguments)])

    good = gradcheck.CHECKS[0]
    monkeypatch.setattr("npl0.gradcheck.checks.CHECKS", [good, replace(good, name="planted", build=build)])


def test_command_prints_one_json_object_and_the_table_on_stderr(capsys, monkeypatch):
    only(monkeypatch, 1)
    assert main(["gradcheck", "--json"]) == 0
    output, table = capsys.readouterr()
    result = json.loads(output)
    assert result["passed"] is True
    assert result["checks"][0]["error"] < result["tolerance"] == 1e-6
    assert result["checks"][0]["name"] == "Linear"
    assert table.count("  ok\n") == 2


@pytest.mark.parametrize("factor", [-1, np.nan])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_command_fails_if_a_check_fails(capsys, monkeypatch, form, factor):
    only(monkeypatch, factor)
    assert main(["gradcheck", *form]) == 1
    output, errors = capsys.readouterr()
    assert "FAILED planted: gradient 0" in output + errors
    assert "1 of 2 checks pass" in output + errors
    if form:
        result = json.loads(output)
        assert [row["passed"] for row in result["checks"]] == [True, False]
        # JSON has no infinity, so an infinite error is null.
        assert (result["checks"][1]["error"] is None) == np.isnan(factor)
        assert result["passed"] is False


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--jsn"], "did you mean '--json'"), (["--seed", "-1"], "--seed must be at least 0, not -1")],
)
def test_command_refuses_wrong_flags(capsys, flags, message):
    with pytest.raises(SystemExit) as stopped:
        main(["gradcheck", *flags])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
