from .tables import result_tables as result_tables
