"""npl0: L0-regularised, fine-grained neural-network pruning on NumPy, SciPy and Numba, every backward by hand."""

__version__ = "0.1.0"
