"""The report: one HTML page on one or several runs. The names come from the stub beside this file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
