"""Compare a hand-written gradient with central differences."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

# Backward passes are exact, so in float64 only the differences err: by about 1e-9, where a missing term errs by 1.
TOLERANCE = 1e-6
# Errors are relative to the entry or, if that is larger, to this fraction of the largest entry of its array.
FLOOR = 1e-2
# A gradient whose entries are all below this on both sides proves nothing: 0 agrees with any multiple of 0.
VANISHED = 1e-12


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    Attributes
    ----------
    error : the largest relative error; infinity if nothing could be compared.
    entries, total : number of entries compared, and of all entries.
    worst : the place and values of the largest error, or why nothing could be compared.
    """

    error: float
    entries: int
    total: int
    worst: str

    def passes(self, tolerance: float = TOLERANCE) -> bool:
        """Return whether the error is within the tolerance; infinity and NaN are not."""
        return self.error <= tolerance


def compare(expected: np.ndarray, actual: np.ndarray, where: str = "") -> Comparison:
    """Compare two float arrays entry by entry.

    error = max over entries of |a - e| / max(|a|, |e|, FLOOR * scale),   scale = max over entries of |a| and |e|

    There is no absolute floor, so gradients of 1e-9 are held to the same digits as gradients of 1. An array that
    vanishes on one side only has error 1; one that vanishes on both sides (`VANISHED`) has error infinity.

    Parameters
    ----------
    expected, actual : arrays of one shape.
    where : name of the array in `worst`.
    """
    size = expected.size
    if expected.shape != actual.shape:
        return Comparison(math.inf, size, size, f"{where} has shape {actual.shape}, not {expected.shape}")
    if not (np.isfinite(expected).all() and np.isfinite(actual).all()):
        return Comparison(math.inf, size, size, f"{where} is not finite")
    magnitude = np.maximum(np.abs(expected), np.abs(actual))
    scale = magnitude.max(initial=0)
    if scale < VANISHED:
        return Comparison(math.inf, size, size, f"{where} vanishes on both sides, which proves nothing")
    error = np.abs(actual - expected) / np.maximum(magnitude, FLOOR * scale)
    place = np.unravel_index(error.argmax(), error.shape)
    values = f"{actual[place]:.6g}, not {expected[place]:.6g}"
    return Comparison(float(error[place]), size, size, f"{where} {tuple(map(int, place))}: {values}")


def check_gradient(
    function: Callable[..., np.ndarray | float],
    gradients: Callable[..., Sequence[np.ndarray]],
    arrays: Sequence[np.ndarray],
    *,
    seed: int = 0,
    entries: int = 400,
    step: float = 1e-5,
) -> Comparison:
    """Compare hand-written gradients with central differences; return the worst comparison over all arrays.

    With a random upstream gradient g, the loss is `L = sum(g * function(*arrays))`, and

        dL/da_i = sum(g * (function(a_i + step) - function(a_i - step))) / (2 step) + O(step²)

    g is standard normal. With g = 1 everywhere, the terms that are most easily forgotten vanish (the means in the
    gradients of batch norm and softmax), and a backward pass without them would agree. Subtracting before summing lets
    outputs that do not change cancel exactly.

    Parameters
    ----------
    function : arrays -> the output, an array or a number. It must be deterministic, so fix any noise. No kink (ReLU at
        0, a tie in max pooling, the bounds of a gate) may lie within `step` of the arrays.
    gradients : (grad_y, *arrays) -> one gradient per array.
    arrays : float64 and C-contiguous. Their entries are changed one at a time, in place, and restored.
    seed : seed of the upstream gradient and of the sample of entries.
    entries : number of entries to check in each array; in a larger array they are drawn without replacement.
    step : see above; the error is that of `compare`.
    """
    if any(array.dtype != np.float64 or not array.flags.c_contiguous for array in arrays):
        raise ValueError("gradients are checked at C-contiguous float64 arrays only")
    generator = np.random.default_rng(seed)
    grad_y = generator.standard_normal(np.shape(function(*arrays)))
    # Copies: a gradient may be in scratch memory that the next call overwrites.
    analytic = [np.array(gradient) for gradient in gradients(grad_y.copy(), *arrays)]
    if len(analytic) != len(arrays):
        raise ValueError(f"{len(analytic)} gradients were returned for {len(arrays)} arrays")

    def difference(flat: np.ndarray, entry: int) -> float:
        before = flat[entry]
        flat[entry] = before + step
        above, width = np.array(function(*arrays)), flat[entry]
        flat[entry] = before - step
        # The step that float64 takes is not exactly the one asked for.
        width -= flat[entry]
        slope = np.sum(grad_y * (above - function(*arrays))) / width
        flat[entry] = before
        return slope

    found = []
    for number, (array, gradient) in enumerate(zip(arrays, analytic, strict=True)):
        name, shape, picked = f"gradient {number}", array.shape, np.arange(array.size)
        if gradient.shape == shape and array.size > entries:
            name, shape = f"{name}, sampled entry", (entries,)
            picked = np.sort(generator.choice(array.size, entries, replace=False))
            gradient = gradient.reshape(-1)[picked]
        numerical = np.array([difference(array.reshape(-1), entry) for entry in picked]).reshape(shape)
        found.append(replace(compare(numerical, gradient, name), total=array.size))
    worst = max(found, key=lambda one: one.error)
    return replace(worst, entries=sum(one.entries for one in found), total=sum(one.total for one in found))
