from .page import check_plots as check_plots
from .page import write_report as write_report
from .record import ReportError as ReportError
from .record import RunRecord as RunRecord
from .record import read_run as read_run
