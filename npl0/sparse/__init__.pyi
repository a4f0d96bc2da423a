from .compact import compact as compact
from .fold import fold_batchnorm as fold_batchnorm
