from .progress import ProgressBar as ProgressBar
from .tables import result_tables as result_tables
