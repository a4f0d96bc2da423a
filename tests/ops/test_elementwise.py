"""ReLU and dropout, the linear layer, the loss and batch normalisation, by value; gradcheck has their derivatives."""

import numpy as np
import pytest

from npl0.ops import activation, linear, norm
from npl0.ops.loss import check_labels, softmax_cross_entropy
from npl0.runtime.scratch import Allocator


def test_relu_keeps_the_positive_and_nan(dtype):
    y = activation.relu_forward(np.array([-1, 0, 2, np.nan], dtype))
    np.testing.assert_array_equal(y, [0, 0, 2, np.nan])
    np.testing.assert_array_equal(activation.relu_backward(np.full(4, 3, dtype), y), [0, 0, 3, 0])


def test_dropout_keeps_where_the_noise_reaches_the_rate(dtype):
    x, u = np.array([1, 2, 3, 4], dtype), np.array([0, 0.24, 0.25, 0.99], np.float32)
    y, multiplier = activation.dropout_forward(x, u, 0.25)
    np.testing.assert_allclose(y, [0, 0, 4, 16 / 3], rtol=1e-6)
    np.testing.assert_allclose(
        activation.dropout_backward(np.ones(4, dtype), multiplier), [0, 0, 4 / 3, 4 / 3], rtol=1e-6
    )
    assert y.dtype == multiplier.dtype == dtype


def test_dropout_keeps_the_mean():
    u = (np.arange(1000) + 0.5) / 1000
    assert activation.dropout_forward(np.ones(1000), u, 0.4)[0].mean() == pytest.approx(1)


def test_linear_by_hand(dtype):
    x, w, b = np.array([[1], [2]], dtype), np.array([[1, 0], [3, 4], [0, -1]], dtype), np.array([1, 0, 5], dtype)
    np.testing.assert_array_equal(linear.linear_forward(x, w, b), [[2], [11], [3]])
    np.testing.assert_array_equal(linear.linear_forward(x, w, None), [[1], [11], [-2]])
    grad_x, grad_w = linear.linear_backward(np.array([[1], [2], [3]], dtype), x, w)
    np.testing.assert_array_equal(grad_x, [[7], [5]])
    np.testing.assert_array_equal(grad_w, [[1, 2], [2, 4], [3, 6]])
    assert linear.linear_backward(np.ones((3, 1), dtype), x, w, need_grad_x=False)[0] is None


def test_the_biass_gradient_is_the_sum_over_all_axes_but_the_first(dtype):
    grad_y = np.arange(24, dtype=dtype).reshape(2, 3, 1, 4)
    for grad_b in (linear.bias_backward(grad_y), linear.bias_backward(grad_y.reshape(2, 12))):
        assert grad_b.dtype == dtype
        np.testing.assert_array_equal(grad_b, [66, 210])


def test_operations_write_into_the_allocator_they_are_given(generator):
    handed_out = {}

    class Recording(Allocator):
        def kept(self, name, shape, dtype):
            handed_out[name] = super().kept(name, shape, dtype)
            return handed_out[name]

    new = Recording()
    x, w, b = generator.standard_normal((2, 3)), generator.standard_normal((4, 2)), np.zeros(4)
    y = linear.linear_forward(x, w, b, new)
    grads = linear.linear_backward(y, x, w, new=new)
    assert y is handed_out["y"]
    assert grads[0] is handed_out["grad_x"]
    assert grads[1] is handed_out["grad_w"]


def test_cross_entropy_by_hand(dtype):
    logits, labels = np.log(np.array([[1, 6], [3, 2]], dtype)), np.array([1, 1])
    loss, correct, grad = softmax_cross_entropy(logits, labels)
    assert loss == pytest.approx((np.log(4 / 3) + np.log(4)) / 2, rel=1e-6)
    assert correct == 1
    np.testing.assert_allclose(grad, np.array([[0.25, 0.75], [-0.25, -0.75]]) / 2, rtol=1e-5)
    assert grad.dtype == dtype


def test_cross_entropy_of_shards_adds_up(generator):
    logits, labels = generator.standard_normal((5, 7)), generator.integers(0, 5, 7).astype(np.uint8)
    loss, correct, grad = softmax_cross_entropy(logits, labels)
    parts = [softmax_cross_entropy(logits[:, part], labels[part], 7) for part in (slice(0, 4), slice(4, 7))]
    assert loss == pytest.approx(sum(part[0] for part in parts))
    assert correct == sum(part[1] for part in parts)
    np.testing.assert_allclose(grad, np.hstack([part[2] for part in parts]))
    assert loss > 0


def test_cross_entropy_survives_huge_logits(dtype):
    loss, _, grad = softmax_cross_entropy(np.array([[1e4], [-1e4]], dtype), np.array([1]))
    assert loss == pytest.approx(2e4)
    np.testing.assert_array_equal(grad, [[1], [-1]])


@pytest.mark.parametrize("shape", [(3, 8), (3, 2, 3, 4)])
def test_batch_norm_leaves_mean_shift_and_deviation_scale(generator, dirty, dtype, shape):
    x = (generator.standard_normal(shape) * 5 + 2).astype(dtype)
    scale, shift = np.array([1, 2, 3], dtype), np.array([-1, 0, 4], dtype)
    y, _, (m, mean, var) = norm.batchnorm_forward(x, scale, shift, new=dirty)
    rows, out = x.reshape(3, -1), y.reshape(3, -1)
    np.testing.assert_allclose(out.mean(axis=1), shift, atol=1e-5)
    np.testing.assert_allclose(out.std(axis=1), scale, rtol=1e-4)
    np.testing.assert_allclose(mean, rows.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(var, rows.var(axis=1), rtol=1e-4)
    assert m == rows.shape[1]
    assert y.dtype == dtype


def test_statistics_of_shards_are_those_of_the_mini_batch(generator, dtype):
    x = (generator.standard_normal((3, 4, 11)) * [[[1]], [[5]], [[0.1]]] + 2).astype(dtype)
    one, zero = np.ones(3, dtype), np.zeros(3, dtype)
    shards = [norm.batchnorm_forward(part.copy(), one, zero)[2] for part in np.split(x, [4, 9], axis=-1)]
    mean, var = norm.pooled_statistics(shards)
    np.testing.assert_allclose(mean, x.mean(axis=(1, 2), dtype=float), rtol=1e-6)
    np.testing.assert_allclose(var, x.var(axis=(1, 2), ddof=1, dtype=float), rtol=1e-6)


@pytest.mark.parametrize("shape", [(3, 7), (4, 3), (2, 2500)])
def test_batch_norm_kernels_equal_their_references_and_their_source(generator, dirty, dtype, shape):
    x, grad_y = (generator.standard_normal((2, *shape)) * 3 + 2).astype(dtype)
    scale, shift = generator.standard_normal((2, shape[0])).astype(dtype)
    expected = norm.batchnorm_reference(x, scale, shift)
    _, mean, _, inverse_std = expected
    expected_back = norm.batchnorm_backward_reference(grad_y, x, mean, inverse_std, scale)
    for forward, backward in (
        (norm.batchnorm_kernel, norm.batchnorm_backward_kernel),
        (norm.batchnorm_kernel.py_func, norm.batchnorm_backward_kernel.py_func),
    ):
        outputs = [dirty.kept("", array.shape, dtype) for array in expected]
        forward(x, scale, shift, norm.EPSILON, *outputs)
        gradients = [dirty.kept("", array.shape, dtype) for array in expected_back]
        backward(grad_y, x, mean, inverse_std, scale, *gradients)
        for found, right in zip((*outputs, *gradients), (*expected, *expected_back), strict=True):
            np.testing.assert_allclose(found, right, rtol=2e-4, atol=2e-4 * np.abs(right).max())


def test_batch_norm_at_inference_uses_the_running_statistics(generator, dirty, dtype):
    x = generator.standard_normal((2, 3, 3, 4)).astype(dtype)
    mean, var = np.array([1, -1], dtype), np.array([4, 9], dtype)
    before = x.copy()
    y = norm.batchnorm_inference(
        x, np.array([2, 1], dtype), np.array([0, 5], dtype), mean, var - norm.EPSILON, new=dirty
    )
    np.testing.assert_array_equal(x, before)
    np.testing.assert_allclose(y[0], (x[0] - 1) / 2 * 2, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(y[1], (x[1] + 1) / 3 + 5, rtol=1e-4, atol=1e-5)
    assert y.dtype == dtype


def test_the_epsilon_of_batch_norm_is_1e_5_in_training_and_at_inference():
    # A variance of 3e-5 and the epsilon add up to 4e-5.
    x, one, zero = np.array([[3e-5**0.5, -(3e-5**0.5)]]), np.ones(1), np.zeros(1)
    expected = x / 4e-5**0.5
    np.testing.assert_allclose(norm.batchnorm_forward(x, one, zero)[0], expected, rtol=1e-12)
    np.testing.assert_allclose(norm.batchnorm_inference(x, one, zero, zero, np.array([3e-5])), expected, rtol=1e-12)


def test_batch_norm_of_one_value_is_refused():
    with pytest.raises(ValueError, match="at least 2 values a feature in training: more than one"):
        norm.batchnorm_forward(np.zeros((3, 1)), np.ones(3), np.zeros(3))


@pytest.mark.parametrize(("labels", "remedy"), [([1, 2, 3], "subtract 1"), ([1, 4], "correct"), ([0, 3], "correct")])
def test_labels_outside_the_classes_are_named_with_their_remedy(labels, remedy):
    with pytest.raises(ValueError, match=rf"labels has [34] at index \d, outside 0\.\.2 \(1 such labels\): .*{remedy}"):
        check_labels(np.array(labels), len(labels), 3)
    check_labels(np.array([0, 2]), 2, 3)
