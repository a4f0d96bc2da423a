from .dataset import DataError as DataError
from .dataset import Dataset as Dataset
from .dataset import channel_statistics as channel_statistics
from .dataset import split_validation as split_validation
from .images import read_images as read_images
from .load import load_dataset as load_dataset
from .registry import DATASETS as DATASETS
from .registry import Source as Source
