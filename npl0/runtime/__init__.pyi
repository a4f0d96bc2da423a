from .settings import ConfigError as ConfigError
from .settings import Npl0Error as Npl0Error
from .threads import Workers as Workers
from .threads import available_threads as available_threads
