"""What the mathematics runs on: kernels, scratch memory, threads, random numbers, and how settings are declared."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
