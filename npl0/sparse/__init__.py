"""The pruned network, made ready for inference. The names come from the stub beside this file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
