from .compact import compact as compact
from .fold import fold_batchnorm as fold_batchnorm
from .reader import Model as Model
from .reader import ModelFileError as ModelFileError
from .reader import load as load
from .writer import ExportError as ExportError
from .writer import to_npl0 as to_npl0
