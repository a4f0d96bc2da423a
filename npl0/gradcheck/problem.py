"""A problem is code under test with random inputs; a check is a named problem."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from npl0.gradcheck.compare import Comparison, check_gradient, compare
from npl0.runtime import rng
from npl0.runtime.threads import Workers


@dataclass
class Draw:
    """A source of random inputs: float64, repeatable, and away from kinks."""

    generator: np.random.Generator
    workers: Workers

    def normal(self, *shape: int) -> np.ndarray:
        """Draw standard normal numbers."""
        return self.generator.standard_normal(shape)

    def off_zero(self, *shape: int) -> np.ndarray:
        """Draw numbers of both signs with |x| > 0.1, away from the kink of ReLU."""
        x = self.normal(*shape)
        return x + np.copysign(0.1, x)

    def distinct(self, *shape: int) -> np.ndarray:
        """Draw numbers of both signs at least 0.05 apart, so that no maximum is a tie, and at least 0.025 from 0."""
        size = int(np.prod(shape))
        return (self.generator.permutation(size).reshape(shape) - size // 2 + 0.5) * 0.05


@dataclass(frozen=True)
class GradientProblem:
    """A function and its hand-written gradient at given arrays.

    Attributes
    ----------
    forward : arrays -> (y, cache).
    backward : (grad_y, cache, *arrays) -> one gradient per array: the code under test. It runs right after `forward`.
    arrays : the inputs and parameters, float64.
    entries, step : see `check_gradient`.
    """

    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[..., Sequence[np.ndarray]]
    arrays: Sequence[np.ndarray]
    entries: int = 400
    step: float = 1e-5

    def gradients(self, grad_y: Any, *arrays: np.ndarray) -> Sequence[np.ndarray]:
        """Run forward and backward."""
        return self.backward(grad_y, self.forward(*arrays)[1], *arrays)

    def compare(self) -> Comparison:
        """Compare the hand-written gradients with central differences."""
        settings = {"entries": self.entries, "step": self.step}
        return check_gradient(lambda *arrays: self.forward(*arrays)[0], self.gradients, self.arrays, **settings)


@dataclass(frozen=True)
class UpdateProblem:
    """An array after some optimiser steps: `tested()` is the code under test, `reference()` its oracle."""

    reference: Callable[[], np.ndarray]
    tested: Callable[[], np.ndarray]

    def compare(self) -> Comparison:
        """Compare the two arrays."""
        return compare(self.reference(), self.tested(), "value")


@dataclass(frozen=True)
class Check:
    """A named problem; `kind` is `op`, `layer`, `network`, `pruner` or `optimiser`."""

    name: str
    kind: str
    build: Callable[[Draw], GradientProblem | UpdateProblem]

    def run(self, workers: Workers, seed: int = 0) -> Comparison:
        """Build the problem and compare; the same seed and name give the same inputs."""
        return self.build(Draw(rng.generator(seed, "gradcheck", *self.name.encode()), workers)).compare()
