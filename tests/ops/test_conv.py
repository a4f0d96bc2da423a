"""im2col, col2im and the convolution made of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npl0.ops import conv

# x shape, kernel height and width, stride, padding: odd sides, a batch of 1, a stride longer than the kernel, a window
# as large as the image, padding wider than the kernel's half.
CASES = [
    ((1, 1, 1, 1), 1, 1, 1, 0),
    ((2, 5, 4, 3), 3, 3, 1, 0),
    ((2, 5, 4, 1), 3, 3, 1, 1),
    ((3, 7, 6, 2), 2, 3, 2, 0),
    ((1, 7, 5, 2), 2, 2, 3, 0),
    ((2, 3, 4, 2), 3, 4, 1, 0),
    ((1, 3, 3, 2), 2, 2, 2, 2),
]


def naive(x, w, b, stride, padding):
    """Compute the convolution by its definition, one output at a time."""
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    kh, kw = w.shape[2:]
    out_h, out_w = ((side - k) // stride + 1 for side, k in zip(padded.shape[1:3], (kh, kw), strict=True))
    y = np.empty((w.shape[0], out_h, out_w, x.shape[3]))
    for a, c in np.ndindex(out_h, out_w):
        window = padded[:, a * stride : a * stride + kh, c * stride : c * stride + kw]
        y[:, a, c] = np.einsum("oijk,ijkn->on", w, window) + b[:, None]
    return y


def columns_shape(shape, kh, kw, stride, padding):
    """Return the shape of the array that the kernels take as `cols`."""
    sides = (conv.out_size(side, k, stride, padding) for side, k in zip(shape[1:3], (kh, kw), strict=True))
    return shape[0], kh, kw, *sides, shape[3]


@pytest.mark.parametrize(("shape", "kh", "kw", "stride", "padding"), CASES)
def test_im2col_kernel_equals_its_reference_and_its_source(generator, dirty, dtype, shape, kh, kw, stride, padding):
    x = generator.standard_normal(shape).astype(dtype)
    expected = conv.im2col_reference(x, kh, kw, stride, padding)
    assert expected.any()
    for call in (conv.im2col_kernel, conv.im2col_kernel.py_func):
        cols = dirty.kept("cols", columns_shape(shape, kh, kw, stride, padding), dtype)
        call(x, stride, padding, cols)
        np.testing.assert_array_equal(cols.reshape(expected.shape), expected)


@pytest.mark.parametrize(("shape", "kh", "kw", "stride", "padding"), CASES)
def test_col2im_kernel_equals_its_reference_and_its_source(generator, dirty, dtype, shape, kh, kw, stride, padding):
    cols = generator.standard_normal(columns_shape(shape, kh, kw, stride, padding)).astype(dtype)
    expected = conv.col2im_reference(cols, shape, kh, kw, stride, padding)
    assert expected.any()
    for call in (conv.col2im_kernel, conv.col2im_kernel.py_func):
        image = dirty.kept("image", shape, dtype)
        call(cols, stride, padding, image)
        np.testing.assert_allclose(image, expected, atol=1e-6)


@settings(max_examples=40)
@given(st.data())
def test_col2im_is_the_transpose_of_im2col(data):
    kh, kw, stride, padding = (data.draw(st.integers(*bounds)) for bounds in ((1, 4), (1, 4), (1, 5), (0, 2)))
    sides = [data.draw(st.integers(max(1, k - 2 * padding), 8)) for k in (kh, kw)]
    shape = (data.draw(st.integers(1, 3)), *sides, data.draw(st.integers(1, 3)))
    generator = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = generator.standard_normal(shape)
    cols, image = np.empty(columns_shape(shape, kh, kw, stride, padding)), np.empty(shape)
    conv.im2col_kernel(x, stride, padding, cols)
    a = generator.standard_normal(cols.shape)
    conv.col2im_kernel(a, stride, padding, image)
    across, back = np.vdot(a, cols), np.vdot(image, x)
    # With padding a window may lie completely outside, and both sides are then 0.
    assert across == pytest.approx(back, rel=1e-10, abs=1e-10)
    assert cols.any() or padding


@pytest.mark.parametrize(("shape", "kh", "kw", "stride", "padding"), CASES)
def test_convolution_is_what_its_definition_says(generator, dirty, shape, kh, kw, stride, padding):
    x, w, b = generator.standard_normal(shape), generator.standard_normal((4, shape[0], kh, kw)), np.arange(4.0)
    y, _ = conv.conv2d_forward(x, w, b, stride, padding, dirty)
    np.testing.assert_allclose(y, naive(x, w, b, stride, padding), atol=1e-12)
    y, _ = conv.conv2d_forward(x, w, None, stride, padding, dirty)
    np.testing.assert_allclose(y, naive(x, w, 0 * b, stride, padding), atol=1e-12)


def test_the_weights_gradient_does_not_depend_on_whether_grad_x_is_wanted(generator, dirty, dtype):
    x, w = (generator.standard_normal(shape).astype(dtype) for shape in ((2, 6, 6, 3), (4, 2, 3, 3)))
    y, cols = conv.conv2d_forward(x, w, np.zeros(4, dtype))
    grad_y = generator.standard_normal(y.shape).astype(dtype)
    grad_x, grad_w = conv.conv2d_backward(grad_y, cols, w, x.shape, 1, 0, new=dirty)
    none, other_w = conv.conv2d_backward(grad_y, cols, w, x.shape, 1, 0, need_grad_x=False)
    assert none is None
    assert {array.dtype for array in (y, grad_x, grad_w)} == {dtype}
    np.testing.assert_array_equal(grad_w, other_w)


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "padding", "expected"),
    [(28, 5, 1, 0, 24), (5, 2, 3, 0, 2), (7, 3, 2, 1, 4), (3, 3, 9, 0, 1), (2, 3, 1, 0, 0)],
)
def test_number_of_window_positions(size, kernel_size, stride, padding, expected):
    assert conv.out_size(size, kernel_size, stride, padding) == expected
