from .threads import Workers as Workers
from .threads import available_threads as available_threads
