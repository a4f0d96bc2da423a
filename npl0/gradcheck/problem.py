"""What is checked: a function at some arrays, and the code under test; and how a check or a planted fault is run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from npl0.gradcheck.compare import Comparison, check_gradient, compare
from npl0.runtime import rng
from npl0.runtime.threads import Workers


@dataclass
class Draw:
    """The source of a check's inputs: float64, repeatable, and away from kinks."""

    generator: np.random.Generator
    workers: Workers

    def normal(self, *shape: int) -> np.ndarray:
        """Draw standard normal numbers."""
        return self.generator.standard_normal(shape)

    def uniform(self, *shape: int) -> np.ndarray:
        """Draw gate noise, away from 0 and 1."""
        return self.generator.uniform(0.05, 0.95, shape)

    def off_zero(self, *shape: int) -> np.ndarray:
        """Draw numbers of both signs that stay 0.1 away from 0, where ReLU has its kink."""
        x = self.normal(*shape)
        return x + np.copysign(0.1, x)

    def distinct(self, *shape: int) -> np.ndarray:
        """Draw numbers of both signs that differ by 0.05 at least, also from 0, so that no maximum is a tie."""
        size = int(np.prod(shape))
        return (self.generator.permutation(size).reshape(shape) - size // 2 + 0.5) * 0.05


@dataclass(frozen=True)
class GradientProblem:
    """A function and its gradients; `tested(grad_y, *arrays)` is the code under test.

    `step` and `entries` are those of `check_gradient`.
    """

    function: Callable[..., Any]
    tested: Callable[..., Sequence[np.ndarray]]
    arrays: Sequence[np.ndarray]
    entries: int = 400
    step: float = 1e-5

    def compare(self) -> Comparison:
        """Compare the gradients under test with central differences."""
        return check_gradient(self.function, self.tested, self.arrays, entries=self.entries, step=self.step)


@dataclass(frozen=True)
class UpdateProblem:
    """What some steps of an optimiser make of an array: `tested()` is the code under test, `reference()` the oracle."""

    reference: Callable[[], np.ndarray]
    tested: Callable[[], np.ndarray]

    def compare(self) -> Comparison:
        """Compare the values after the steps."""
        return compare(self.reference(), self.tested(), "value")


Problem = GradientProblem | UpdateProblem


@dataclass(frozen=True)
class Check:
    """One entry of the registry.

    Attributes
    ----------
    name : unique; kind : `op`, `layer`, `pruner`, `network` or `optimiser`.
    build : makes the problem from a source of inputs.
    """

    name: str
    kind: str
    build: Callable[[Draw], Problem]

    def run(self, workers: Workers, seed: int = 0) -> Comparison:
        """Build the problem and compare; the same inputs for the same seed and name."""
        return self.build(Draw(rng.generator(seed, "gradcheck", *self.name.encode()), workers)).compare()


@dataclass(frozen=True)
class Fault:
    """A planted fault: the check of that name with something wrong in it, to see that the checker catches it."""

    name: str
    check: Check

    def run(self, workers: Workers, seed: int = 0) -> Comparison:
        """Compare the wrong backward as if it were the code under test."""
        return self.check.run(workers, seed)
