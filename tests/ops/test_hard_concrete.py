"""Properties of the hard-concrete gate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npl0.ops import hard_concrete as hc

LOCATIONS = st.floats(-20, 20, width=32)
NOISE = st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 2.0**-25, 2.0**-24, 1 - 2.0**-24, 1.0]))

# u = (k + 1/2) / n: averages over it are probabilities up to 1 / n, with nothing random.
GRID = (np.arange(4000) + 0.5) / 4000

# Where a test-time gate closes: `sigmoid(log_alpha / temperature) = 1 / 12`.
CLOSES = {"paper": -2.398, "median": -1.599}


@given(LOCATIONS, NOISE, st.sampled_from([np.float32, np.float64]))
def test_gates_lie_between_0_and_1_and_equal_the_printed_formula(log_alpha, u, kind):
    log_alpha, u = np.array([log_alpha], kind), np.array([u], kind)
    z = hc.sample(log_alpha, u)
    assert z.dtype == kind
    assert 0 <= z[0] <= 1
    # u = 1 has an infinite logarithm in the formula as printed; the gate is then open.
    expected = hc.sample_reference(log_alpha.astype(np.float64), u.astype(np.float64)) if u[0] < 1 else 1
    np.testing.assert_allclose(z, expected, atol=2e-6 if kind == np.float32 else 1e-12)


@pytest.mark.parametrize("log_alpha", [-20, -2, 0, 2, 20])
@pytest.mark.parametrize("u", [0, 2.0**-25, 1 - 2.0**-24, 1])
def test_extremes_are_finite_and_silent(dtype, log_alpha, u):
    z = hc.sample(np.array([log_alpha], dtype), np.array([u], dtype))
    p = hc.open_probability(np.array([log_alpha], dtype))
    slope = hc.gate_backward(np.ones(1, dtype), z) + hc.open_probability_backward(1.0, p)
    assert np.isfinite([z, p, slope]).all()
    if abs(log_alpha) < 20:
        assert z[0] == (u > 0.5)


@given(st.floats(-8, 8))
def test_open_probability_is_the_fraction_of_open_gates(log_alpha):
    gates = hc.sample(np.full(GRID.size, log_alpha), GRID)
    assert hc.open_probability(np.array(log_alpha)) == pytest.approx((gates > 0).mean(), abs=1 / GRID.size)


@given(st.floats(-8, 8))
def test_median_rule_is_the_median_of_the_gate(log_alpha):
    gates = hc.sample(np.full(GRID.size, log_alpha), GRID)
    assert hc.deterministic_gate(np.array(log_alpha), "median") == pytest.approx(np.median(gates), abs=1e-3)


@given(LOCATIONS, st.sampled_from(sorted(CLOSES)), st.sampled_from([np.float32, np.float64]))
def test_a_test_gate_is_zero_exactly_up_to_its_bound(log_alpha, rule, kind):
    gate = hc.deterministic_gate(np.array(log_alpha, kind), rule)
    assert gate.dtype == kind
    assert 0 <= gate <= 1
    if log_alpha <= CLOSES[rule]:
        assert gate == 0
    elif log_alpha > CLOSES[rule] + 1e-3:
        assert gate > 0


@pytest.mark.parametrize("rule", sorted(CLOSES))
def test_both_sides_of_the_bound(dtype, rule):
    gates = hc.deterministic_gate(np.array([CLOSES[rule], CLOSES[rule] + 1e-3], dtype), rule)
    assert gates[0] == 0 < gates[1]


def test_paper_rule_by_hand(dtype):
    gates = hc.deterministic_gate(np.log(np.array([1, 3, 1 / 3, 100], dtype)))
    np.testing.assert_allclose(gates, [0.5, 0.8, 0.2, 1], rtol=1e-6)


def test_a_clipped_gate_has_no_slope():
    z = np.array([0, 0.5, 1])
    np.testing.assert_allclose(hc.gate_backward(np.full(3, 2.0), z), [0, 2 * 0.36 / (1.2 * hc.BETA), 0])


def test_sample_writes_to_out():
    out = np.empty(3)
    assert hc.sample(np.zeros(3), np.array([0.1, 0.5, 0.9]), out=out) is out
    np.testing.assert_allclose(out[1], 0.5)
    assert out[0] < out[1] < out[2]


def test_the_smallest_noise_is_half_the_spacing_of_random_float32_numbers():
    drawn = np.random.default_rng(0).random(100_000, dtype=np.float32)
    assert ((drawn * 2.0**24) % 1 == 0).all() and hc.SMALLEST_U == 2.0**-24 / 2
    lowest, next_one = hc.sample(np.zeros(2, np.float32), np.array([0, 2.0**-24], np.float32))
    assert np.isfinite([lowest, next_one]).all()
