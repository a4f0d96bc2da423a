"""npl0: L0-regularised, fine-grained neural-network pruning on NumPy, SciPy and Numba, every backward pass by hand.

The public names are listed in the stub beside this file, and imported at their first use: `import npl0` is instant.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
