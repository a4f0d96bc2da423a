"""Softmax cross-entropy; the logits of an example are a column."""

import numpy as np


def check_labels(labels: np.ndarray, n: int, classes: int, what: str = "labels") -> None:
    """Raise ValueError, which begins with `what`, unless labels are an array of n integers in [0, classes)."""
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu" or labels.shape != (n,):
        found = f"{labels.dtype} {labels.shape}" if isinstance(labels, np.ndarray) else type(labels).__name__
        remedy = "one-hot labels become integers by labels.argmax(axis=1)"
        raise ValueError(f"{what} must be a NumPy array of {n} integers, one per image, not {found}; {remedy}")
    for i in (outside := np.flatnonzero((labels < 0) | (labels >= classes)))[:1]:
        from_1 = labels.min() == 1 and labels.max() == classes
        remedy = "they begin at 1: subtract 1 from every label" if from_1 else "correct the labels"
        found = f"{what} has {labels[i]} at index {i}, outside 0..{classes - 1} ({outside.size} such labels)"
        raise ValueError(f"{found}: {remedy}")


def softmax_cross_entropy(logits: np.ndarray, labels: np.ndarray, batch_size=None) -> tuple[float, int, np.ndarray]:
    """Compute the cross-entropy of the softmax and its gradient for one shard of a mini-batch.

    loss = sum_n (log sum_c exp(logits[c, n]) - logits[label_n, n]) / batch_size
    grad_logits[c, n] = (softmax(logits)[c, n] - [c == label_n]) / batch_size

    Parameters
    ----------
    logits : (classes, N); labels : (N,), which `check_labels` takes.
    batch_size : the number of examples in the whole mini-batch; default N.

    Returns
    -------
    loss : this shard's contribution to the mean loss of the mini-batch.
    correct : the number of examples whose largest logit is that of their label.
    grad_logits : (classes, N).
    """
    n = logits.shape[1]
    batch_size, columns = batch_size or n, np.arange(n)
    correct = int((logits.argmax(axis=0) == labels).sum())
    shifted = logits - logits.max(axis=0)
    grad = np.exp(shifted)
    total = grad.sum(axis=0)
    loss = float((np.log(total) - shifted[labels, columns]).sum(dtype=np.float64)) / batch_size
    grad /= total
    grad[labels, columns] -= 1
    grad /= batch_size
    return loss, correct, grad
