"""Data sets of images: MNIST, CIFAR-10, a synthetic one, and your own files.

The names come from their modules at their first use; the list of them is `__init__.pyi`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
