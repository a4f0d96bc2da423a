"""Layers, networks and models. The names come from the stub beside this file, each loaded at its first use."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
