"""Compare a hand-written gradient with central differences."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

# Backwards are exact formulas, so in float64 only the differences err: about 1e-9, where a forgotten term errs by 1.
TOLERANCE = 1e-6

# An entry is compared with itself or, if that is larger, with this fraction of the largest entry of its array.
FLOOR = 1e-2

# A gradient whose largest entry is below this on both sides tells nothing: 0 agrees with any multiple of 0.
VANISHED = 1e-12

Gradients = Callable[..., Sequence[np.ndarray]]


@dataclass(frozen=True)
class Comparison:
    """What a check found.

    Attributes
    ----------
    error : the largest relative error; infinity where nothing could be compared.
    entries, total : how many entries were compared, and of how many.
    worst : the place and values of the largest error, or why nothing could be compared.
    """

    error: float
    entries: int
    total: int
    worst: str

    def passes(self, tolerance: float = TOLERANCE) -> bool:
        """Say whether the error is within the tolerance; infinity and NaN are not."""
        return self.error <= tolerance


def compare(expected: np.ndarray, actual: np.ndarray, where: str = "", floor: float = FLOOR) -> Comparison:
    """Compare two float arrays entry by entry.

    error = max over entries of |a - e| / max(|a|, |e|, floor * scale),   scale = max over entries of |a| and |e|

    There is no absolute floor, so gradients of 1e-30 are held to the same digits as gradients of 1; an array that
    vanishes on one side only has error 1, and one that vanishes on both sides (`VANISHED`) is refused: error infinity.

    Parameters
    ----------
    expected, actual : one shape; where : what to call the array in `worst`; floor : a fraction, in (0, 1].
    """
    size = expected.size
    if expected.shape != actual.shape:
        return Comparison(math.inf, size, size, f"{where} has shape {actual.shape}, not {expected.shape}")
    if not (np.isfinite(expected).all() and np.isfinite(actual).all()):
        return Comparison(math.inf, size, size, f"{where} is not finite")
    magnitude = np.maximum(np.abs(expected), np.abs(actual))
    scale = magnitude.max(initial=0)
    if scale < VANISHED:
        return Comparison(math.inf, size, size, f"{where} vanishes on both sides, which certifies nothing")
    error = np.abs(actual - expected) / np.maximum(magnitude, floor * scale)
    place = np.unravel_index(error.argmax(), error.shape)
    values = f"{actual[place]:.6g}, not {expected[place]:.6g}"
    return Comparison(float(error[place]), size, size, f"{where} {tuple(map(int, place))}: {values}")


def worst_of(comparisons: Sequence[Comparison]) -> Comparison:
    """Return the worst of several comparisons, with the entries of all."""
    worst = max(comparisons, key=lambda comparison: comparison.error)
    entries, total = (sum(getattr(c, name) for c in comparisons) for name in ("entries", "total"))
    return Comparison(worst.error, entries, total, worst.worst)


def check_gradient(
    function: Callable[..., np.ndarray | float],
    gradients: Gradients,
    arrays: Sequence[np.ndarray],
    *,
    seed: int = 0,
    entries: int = 400,
    step: float = 1e-5,
    floor: float = FLOOR,
) -> Comparison:
    """Compare hand-written gradients with central differences.

    With a random upstream gradient g, the loss is `L = sum(g * function(*arrays))`, and

        dL/da_i = sum(g * (function(a_i + step) - function(a_i - step))) / (2 step) + O(step²)

    g is standard normal and never all ones: ones lie in the null space of what is easily forgotten (the mean of a batch
    norm's or a softmax's gradient), and would let a backward pass that lacks the term. The difference is taken before
    the sum, so that outputs that do not move cancel exactly.

    Parameters
    ----------
    function : arrays -> the output, an array or a number. It must be deterministic: noise is fixed by the caller. No
        kink (ReLU at 0, a tie of a max-pool, the bounds of a gate) may lie within `step` of the arrays.
    gradients : (grad_y, *arrays) -> one gradient an array.
    arrays : float64 and C-contiguous. They are moved entry by entry in place, and put back.
    seed : of the upstream gradient and of the sample.
    entries : of an array that has more, so many are drawn without repetition and the others are not looked at.
    step, floor : see above and `compare`.

    Returns
    -------
    comparison : over all arrays; `total` tells how many entries there are.

    Raises
    ------
    ValueError
        If an array is not float64 and C-contiguous, or `gradients` returns another number of arrays than `arrays` has.
    """
    if any(array.dtype != np.float64 or not array.flags.c_contiguous for array in arrays):
        raise ValueError("gradients are checked at C-contiguous float64 arrays only")
    generator = np.random.default_rng(seed)
    grad_y = generator.standard_normal(np.shape(function(*arrays)))
    # Copies: a gradient may live in scratch memory that the next call of the function overwrites.
    analytic = [np.array(gradient) for gradient in gradients(grad_y.copy(), *arrays)]
    if len(analytic) != len(arrays):
        raise ValueError(f"{len(analytic)} gradients were returned for {len(arrays)} arrays")
    found = []
    for number, (array, gradient) in enumerate(zip(arrays, analytic, strict=True)):
        name = f"gradient {number}"
        if gradient.shape != array.shape:
            shapes = f"{name} has shape {gradient.shape}, not {array.shape}"
            found.append(Comparison(math.inf, 0, array.size, shapes))
            continue
        picked = np.arange(array.size)
        if array.size > entries:
            picked = np.sort(generator.choice(array.size, entries, replace=False))
        numerical = _central_differences(function, grad_y, arrays, array, picked, step)
        if picked.size == array.size:
            one = compare(numerical.reshape(array.shape), gradient, name, floor)
        else:
            one = compare(numerical, gradient.reshape(-1)[picked], f"{name}, sampled entry", floor)
        found.append(Comparison(one.error, picked.size, array.size, one.worst))
    return worst_of(found)


def _central_differences(function, grad_y, arrays, array, picked, step) -> np.ndarray:
    """Differentiate `sum(grad_y * function(*arrays))` by the picked entries of one of the arrays."""
    flat = array.reshape(-1)
    numerical = np.empty(picked.size)
    for i, entry in enumerate(picked):
        before = flat[entry]
        flat[entry] = before + step
        above = np.array(function(*arrays))
        # The step that float64 really took, not the one asked for.
        width = flat[entry]
        flat[entry] = before - step
        width -= flat[entry]
        numerical[i] = np.sum(grad_y * (above - function(*arrays))) / width
        flat[entry] = before
    return numerical
