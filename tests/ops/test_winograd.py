"""Winograd's convolution against im2col's, and the identity its matrices must satisfy."""

import numpy as np
import pytest

from npl0.ops import conv, winograd

PAIRS = [(m, r) for m in range(1, 8) for r in range(2, 8) if m + r <= 9]

# m, r, padding, channels, filters, batch and tiles along both axes.
CASES = [(4, 5, 0, 3, 2, 2, (2, 2)), (4, 3, 1, 2, 3, 1, (1, 2)), (2, 3, 0, 1, 2, 3, (3, 1)), (2, 5, 2, 2, 1, 2, (2, 3))]


def both_ways(generator, dirty, case, dtype):
    """Return (y, grad_x, grad_w) by im2col in float64, and by Winograd in dtype."""
    m, r, padding, channels, filters, n, tiles = case
    x = generator.standard_normal((channels, *(m * t + r - 1 - 2 * padding for t in tiles), n))
    w, b = generator.standard_normal((filters, channels, r, r)), generator.standard_normal(filters)
    y, cols = conv.conv2d_forward(x, w, b, 1, padding)
    grad_y = generator.standard_normal(y.shape)
    expected = y, *conv.conv2d_backward(grad_y, cols, w, x.shape, 1, padding)
    x, w, b, grad_y = (array.astype(dtype) for array in (x, w, b, grad_y))
    u = winograd.transform_weight(w, m)
    y, v = winograd.conv2d_forward(x, u, b, m, r, padding, dirty)
    return (
        expected,
        (y, *winograd.conv2d_backward(grad_y, v, u, m, r, x.shape, padding, new=dirty)),
        (grad_y, v, u, x.shape),
    )


@pytest.mark.parametrize(("m", "r"), PAIRS)
def test_matrices_compute_the_correlation(generator, m, r):
    a_t, g, b_t = winograd.matrices(m, r)
    n = m + r - 1
    assert (a_t.shape, g.shape, b_t.shape) == ((m, n), (n, r), (n, n))
    x, w = generator.standard_normal(n), generator.standard_normal(r)
    np.testing.assert_allclose(a_t @ ((g @ w) * (b_t @ x)), np.correlate(x, w, "valid"), atol=1e-11)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("kind", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-4)])
def test_forward_and_backward_equal_those_of_im2col(generator, dirty, case, kind, tolerance):
    expected, found, _ = both_ways(generator, dirty, case, kind)
    for right, mine in zip(expected, found, strict=True):
        assert mine.dtype == kind
        assert mine.shape == right.shape
        assert np.abs(mine - right).max() <= tolerance * np.abs(right).max()


def test_the_weights_gradient_does_not_depend_on_whether_grad_x_is_wanted(generator, dirty):
    m, r, padding = CASES[1][:3]
    _, found, (grad_y, v, u, x_shape) = both_ways(generator, dirty, CASES[1], np.float64)
    none, grad_w = winograd.conv2d_backward(grad_y, v, u, m, r, x_shape, padding, need_grad_x=False)
    assert none is None
    np.testing.assert_array_equal(grad_w, found[2])


def test_no_bias_is_a_bias_of_zero(generator):
    x, w = generator.standard_normal((2, 6, 6, 3)), generator.standard_normal((4, 2, 3, 3))
    u = winograd.transform_weight(w, 4)
    y, zero = (winograd.conv2d_forward(x, u, b, 4, 3)[0] for b in (None, np.zeros(4)))
    np.testing.assert_array_equal(y, zero)
    assert y.any()


def test_transform_of_a_weight_is_two_sided(generator):
    w = generator.standard_normal((3, 2, 5, 5))
    g = winograd.matrices(4, 5)[1]
    u = winograd.transform_weight(w, 4)
    assert u.shape == (64, 3, 2)
    np.testing.assert_allclose(u[:, 1, 0].reshape(8, 8), g @ w[1, 0] @ g.T, atol=1e-12)


@pytest.mark.parametrize(
    ("kernel_size", "stride", "tile", "expected"),
    [(5, 1, 4, True), (3, 1, 4, True), (7, 1, 2, True), (5, 2, 4, False), (1, 1, 4, False), (7, 1, 4, False)],
)
def test_what_is_supported(kernel_size, stride, tile, expected):
    assert winograd.supports(kernel_size, stride, tile) is expected


def test_too_large_a_tile_is_refused():
    with pytest.raises(ValueError, match=r"F\(5, 5\) needs 8 points; at most 7 are known: take m \+ r <= 9"):
        winograd.matrices(5, 5)


def test_sides_that_are_no_multiples_of_the_tile_are_refused(generator):
    u = winograd.transform_weight(generator.standard_normal((1, 1, 3, 3)), 4)
    with pytest.raises(ValueError, match=r"F\(4, 3\) needs output sides that are multiples of 4, not 5 x 4"):
        winograd.conv2d_forward(np.zeros((1, 7, 6, 2)), u, np.zeros(1), 4, 3)
