"""Softmax cross-entropy on columns of logits."""

import numpy as np


def softmax_cross_entropy(
    logits: np.ndarray, labels: np.ndarray, batch_size: int | None = None
) -> tuple[float, int, np.ndarray]:
    """Compute the cross-entropy of the softmax, and its gradient, for one shard of a mini-batch.

    loss = sum_n (log sum_c exp(x[c, n]) - x[label_n, n]) / B,   grad[c, n] = (softmax(x)[c, n] - [c == label_n]) / B

    Parameters
    ----------
    logits : (classes, N) floats; labels : (N,) integers in [0, classes).
    batch_size : B, the examples of the whole mini-batch; default N.

    Returns
    -------
    loss : this shard's part of the mean loss.
    correct : the number of examples whose largest logit is the label's.
    grad_logits : (classes, N).

    Raises
    ------
    ValueError
        If a label is outside [0, classes).
    """
    classes, n = logits.shape
    if n and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(f"labels must lie in [0, {classes - 1}], found {labels.min()} to {labels.max()}")
    columns = np.arange(n)
    correct = int((logits.argmax(axis=0) == labels).sum())
    shifted = logits - logits.max(axis=0)
    grad = np.exp(shifted)
    total = grad.sum(axis=0)
    batch_size = batch_size or n
    loss = float((np.log(total) - shifted[labels, columns]).sum(dtype=np.float64)) / batch_size
    grad /= total
    grad[labels, columns] -= 1
    grad /= batch_size
    return loss, correct, grad
