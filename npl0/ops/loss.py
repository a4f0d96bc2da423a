"""Softmax cross-entropy; the logits of an example are a column."""

import numpy as np


def softmax_cross_entropy(
    logits: np.ndarray, labels: np.ndarray, batch_size: int | None = None
) -> tuple[float, int, np.ndarray]:
    """Compute the cross-entropy of the softmax and its gradient for one shard of a mini-batch.

    loss = sum_n (log sum_c exp(logits[c, n]) - logits[label_n, n]) / batch_size
    grad_logits[c, n] = (softmax(logits)[c, n] - [c == label_n]) / batch_size

    for logits (classes, N), labels (N,) in [0, classes), which is not checked, and a mini-batch of `batch_size`
    examples (default: N). Returned between the two is the number of examples whose largest logit is their label's.
    """
    n = logits.shape[1]
    batch_size = batch_size or n
    columns = np.arange(n)
    correct = int((logits.argmax(axis=0) == labels).sum())
    shifted = logits - logits.max(axis=0)
    grad = np.exp(shifted)
    total = grad.sum(axis=0)
    loss = float((np.log(total) - shifted[labels, columns]).sum(dtype=np.float64)) / batch_size
    grad /= total
    grad[labels, columns] -= 1
    grad /= batch_size
    return loss, correct, grad
