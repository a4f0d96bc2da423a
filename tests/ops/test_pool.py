"""Pooling: the kernels against their references, ties, NaN."""

import numpy as np
import pytest

from npl0.ops import pool

# x shape, size, stride: side by side, overlapping, with gaps, with a rest at the border, the whole image, a batch of 1.
CASES = [
    ((2, 4, 6, 3), 2, 2),
    ((2, 7, 6, 1), 3, 2),
    ((1, 8, 7, 2), 2, 3),
    ((3, 5, 4, 2), 2, 2),
    ((1, 4, 5, 4), 2, 2),
    ((2, 3, 3, 2), 3, 1),
    ((1, 2, 2, 1), 1, 1),
]


@pytest.mark.parametrize(("shape", "size", "stride"), CASES)
def test_maxpool_kernels_equal_their_references_and_their_sources(generator, dirty, dtype, shape, size, stride):
    # Integers, so that ties occur in every case.
    x = generator.integers(-3, 3, shape).astype(dtype)
    y, winner = pool.maxpool_forward(x, size, stride, dirty)
    expected_y, expected_winner = pool.maxpool_reference(x, size, stride)
    np.testing.assert_array_equal(y, expected_y)
    np.testing.assert_array_equal(winner, expected_winner)
    interpreted = np.full_like(y, np.nan), np.full_like(winner, 255)
    pool.maxpool_kernel.py_func(x, size, stride, *interpreted)
    np.testing.assert_array_equal(interpreted[0], y)
    np.testing.assert_array_equal(interpreted[1], winner)

    grad_y = generator.standard_normal(y.shape).astype(dtype)
    grad_x = pool.maxpool_backward(grad_y, winner, shape, size, stride, dirty)
    assert y.dtype == grad_x.dtype == dtype
    np.testing.assert_allclose(
        grad_x, pool.maxpool_backward_reference(grad_y, winner, shape, size, stride), rtol=1e-6, atol=1e-6
    )
    interpreted = np.full_like(grad_x, np.nan)
    pool.maxpool_backward_kernel.py_func(grad_y, winner, size, stride, interpreted)
    np.testing.assert_allclose(interpreted, grad_x, rtol=1e-6, atol=1e-6)
    # Nothing is lost and nothing is invented, whatever the windows.
    assert grad_x.sum(dtype=np.float64) == pytest.approx(grad_y.sum(dtype=np.float64), abs=1e-4)
    assert grad_x.any()


def test_a_tie_goes_to_the_first_cell(dtype):
    y, winner = pool.maxpool_forward(np.ones((1, 2, 2, 3), dtype), 2, 2)
    assert (y == 1).all()
    assert (winner == 0).all()
    grad_x = pool.maxpool_backward(np.full_like(y, 5), winner, (1, 2, 2, 3), 2, 2)
    np.testing.assert_array_equal(grad_x[0, :, :, 0], [[5, 0], [0, 0]])


def test_the_largest_window_numbers_its_cells_in_a_byte(dtype):
    x = np.arange(256, dtype=dtype).reshape(1, 16, 16, 1)
    y, winner = pool.maxpool_forward(x, 16, 16)
    assert (y.item(), winner.item()) == (255, 255)


@pytest.mark.parametrize("cell", range(4))
def test_a_maximum_does_not_hide_nan(dtype, cell):
    x = np.ones((1, 2, 2, 9), dtype)
    x.reshape(4, 9)[cell, 4] = np.nan
    y, _ = pool.maxpool_forward(x, 2, 2)
    np.testing.assert_array_equal(np.isnan(y[0, 0, 0]), np.arange(9) == 4)


@pytest.mark.parametrize(("shape", "size", "stride"), CASES)
def test_averages_are_those_of_the_windows(generator, dtype, shape, size, stride):
    x = generator.standard_normal(shape).astype(dtype)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))[:, ::stride, ::stride]
    y = pool.avgpool_forward(x, size, stride)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, windows.mean(axis=(4, 5)), rtol=1e-5, atol=1e-6)
    grad_y = generator.standard_normal(y.shape).astype(dtype)
    grad_x = pool.avgpool_backward(grad_y, shape, size, stride)
    # The backward is the transpose of the forward.
    assert np.vdot(grad_x, x) == pytest.approx(float(np.vdot(grad_y, y)), rel=1e-4, abs=1e-4)
    assert grad_x.any()
