from .fold import fold_batchnorm as fold_batchnorm
