"""Winograd's convolutions against im2col's, and the identities their matrices and transforms must satisfy."""

import numpy as np
import pytest

from npl0.ops import conv, winograd, winograd3x3

PAIRS = [(m, r) for m in range(1, 8) for r in range(2, 8) if m + r <= 9]

# m, r, padding, channels, filters, batch and tiles along both axes.
GENERAL = [
    (4, 5, 0, 3, 2, 2, (2, 2)),
    (4, 3, 1, 2, 3, 1, (1, 2)),
    (2, 3, 0, 1, 2, 3, (3, 1)),
    (2, 5, 2, 2, 1, 2, (2, 3)),
]
# The last three are cut into several blocks: two of tiles, one of filters.
SEPARABLE = [
    (4, 3, 1, 2, 3, 1, (1, 2)),
    (4, 3, 0, 3, 2, 5, (2, 1)),
    (2, 3, 1, 3, 4, 3, (1, 1)),
    (2, 3, 0, 1, 2, 3, (3, 1)),
    (4, 3, 1, 2, 3, 70, (3, 3)),
    (2, 3, 1, 2, 3, 64, (5, 2)),
    (4, 3, 1, 2, 130, 1, (1, 2)),
]
CASES = [*((winograd, case) for case in GENERAL), *((winograd3x3, case) for case in SEPARABLE)]


def both_ways(generator, dirty, ops, case, dtype):
    """Return (y, grad_x, grad_w) by im2col in float64, and by Winograd in dtype."""
    m, r, padding, channels, filters, n, tiles = case
    x = generator.standard_normal((channels, *(m * t + r - 1 - 2 * padding for t in tiles), n))
    w, b = generator.standard_normal((filters, channels, r, r)), generator.standard_normal(filters)
    y, cols = conv.conv2d_forward(x, w, b, 1, padding)
    grad_y = generator.standard_normal(y.shape)
    expected = y, *conv.conv2d_backward(grad_y, cols, w, x.shape, 1, padding)
    x, w, b, grad_y = (array.astype(dtype) for array in (x, w, b, grad_y))
    u = winograd.transform_weight(w, m)
    y, kept = ops.conv2d_forward(x, u, b, m, padding, dirty)
    return (
        expected,
        (y, *ops.conv2d_backward(grad_y, kept, u, m, x.shape, padding, new=dirty)),
        (grad_y, kept, u, x.shape),
    )


@pytest.mark.parametrize(("m", "r"), PAIRS)
def test_matrices_compute_the_correlation(generator, m, r):
    a_t, g, b_t = winograd.matrices(m, r)
    n = m + r - 1
    assert (a_t.shape, g.shape, b_t.shape) == ((m, n), (n, r), (n, n))
    x, w = generator.standard_normal(n), generator.standard_normal(r)
    np.testing.assert_allclose(a_t @ ((g @ w) * (b_t @ x)), np.correlate(x, w, "valid"), atol=1e-11)


@pytest.mark.parametrize(("ops", "case"), CASES)
@pytest.mark.parametrize(("kind", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-4)])
def test_forward_and_backward_equal_those_of_im2col(generator, dirty, ops, case, kind, tolerance):
    expected, found, _ = both_ways(generator, dirty, ops, case, kind)
    for right, mine in zip(expected, found, strict=True):
        assert mine.dtype == kind
        assert mine.shape == right.shape
        assert np.abs(mine - right).max() <= tolerance * np.abs(right).max()


@pytest.mark.parametrize("ops", [winograd, winograd3x3])
def test_the_weights_gradient_does_not_depend_on_whether_grad_x_is_wanted(generator, dirty, ops):
    m, _, padding = GENERAL[1][:3]
    _, found, (grad_y, kept, u, x_shape) = both_ways(generator, dirty, ops, GENERAL[1], np.float64)
    none, grad_w = ops.conv2d_backward(grad_y, kept, u, m, x_shape, padding, need_grad_x=False)
    assert none is None
    np.testing.assert_array_equal(grad_w, found[2])


@pytest.mark.parametrize("ops", [winograd, winograd3x3])
def test_no_bias_is_a_bias_of_zero(generator, ops):
    x, w = generator.standard_normal((2, 6, 6, 3)), generator.standard_normal((4, 2, 3, 3))
    u = winograd.transform_weight(w, 4)
    y, zero = (ops.conv2d_forward(x, u, b, 4)[0] for b in (None, np.zeros(4)))
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


@pytest.mark.parametrize("ops", [winograd, winograd3x3])
def test_sides_that_are_no_multiples_of_the_tile_are_refused(generator, ops):
    u = winograd.transform_weight(generator.standard_normal((1, 1, 3, 3)), 4)
    with pytest.raises(ValueError, match=r"F\(4, 3\) needs output sides that are multiples of 4, not 5 x 4"):
        ops.conv2d_forward(np.zeros((1, 7, 6, 2)), u, np.zeros(1), 4)


@pytest.mark.parametrize(("m", "of"), [(6, 6), (3, 3), (2, 4)])
def test_other_tiles_than_the_two_that_are_written_out_are_refused(generator, m, of):
    u = winograd.transform_weight(generator.standard_normal((1, 1, 3, 3)), of)
    with pytest.raises(ValueError, match=rf"are known here, not F\({m}, 3\) and {(of + 2) ** 2} points"):
        winograd3x3.conv2d_forward(np.zeros((1, 14, 14, 2)), u, None, m)


@pytest.mark.parametrize("m", [4, 2])
@pytest.mark.parametrize("window", ["n", "m"])
def test_transforms_of_one_dimension_are_the_derived_matrices(generator, dtype, m, window):
    a_t, _, b_t = winograd.matrices(m, 3)
    to_points = b_t if window == "n" else a_t.T
    for call in (winograd3x3.to_points_1d, winograd3x3.to_points_1d.py_func):
        d = generator.standard_normal((to_points.shape[1], 9)).astype(dtype)
        t = generator.standard_normal((m + 2, 2, 3, 9)).astype(dtype)
        expected = t.copy()
        expected[:, 1, 2] = to_points @ d
        call(d, t, 1, 2)
        np.testing.assert_allclose(t, expected, rtol=1e-5, atol=1e-5)
    for call in (winograd3x3.from_points_1d, winograd3x3.from_points_1d.py_func):
        d = np.full_like(d, np.nan)
        call(t, 1, 2, d)
        np.testing.assert_allclose(d, to_points.T @ t[:, 1, 2], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(("m", "window"), [(4, 6), (4, 4), (2, 4), (2, 2)])
def test_transform_kernels_are_the_matrices_of_whole_tiles(generator, dirty, dtype, m, window):
    a_t, _, b_t = winograd.tile_matrices(m, 3, np.dtype(float))
    matrix = b_t if window == m + 2 else a_t.T
    channels, tile_rows, tile_columns, n, padding = 2, 3, 2, 5, (window - m) // 2
    shape = ((m + 2) ** 2, channels, tile_rows, tile_columns * n)
    x = generator.standard_normal((channels, m * tile_rows, m * tile_columns, n)).astype(dtype)
    columns = conv.im2col_reference(x, window, window, m, padding)
    transformed = (matrix @ columns.reshape(channels, window**2, -1)).transpose(1, 0, 2).reshape(shape)
    # The kernels are given the last two of the three rows of tiles.
    points = np.zeros(shape, dtype)
    points[:, :, 1:] = generator.standard_normal(points[:, :, 1:].shape)
    columns = matrix.T @ points.transpose(1, 0, 2, 3).reshape(channels, shape[0], -1)
    summed = conv.col2im_reference(columns.reshape(channels * window**2, -1), x.shape, window, window, m, padding)
    if window == m + 2:
        summed += x
    else:
        summed[:, :m] = x[:, :m]
    for to_points, from_points in (
        (winograd3x3.to_points_kernel, winograd3x3.from_points_kernel),
        (winograd3x3.to_points_kernel.py_func, winograd3x3.from_points_kernel.py_func),
    ):
        v = dirty.kept("v", points[:, :, 1:].shape, dtype)
        to_points(x, window, 1, padding, v)
        np.testing.assert_allclose(v, transformed[:, :, 1:], rtol=1e-4, atol=1e-4)
        # Where windows overlap the kernel adds to what is there, else it overwrites it.
        back = x.copy()
        from_points(points[:, :, 1:].copy(), window, 1, padding, back)
        np.testing.assert_allclose(back, summed, rtol=1e-4, atol=1e-4)
