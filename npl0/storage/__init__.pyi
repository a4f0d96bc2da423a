from .archive import CheckpointError as CheckpointError
from .model_file import find_model as find_model
from .model_file import load_model as load_model
from .model_file import save_model as save_model
from .tensors import import_weights as import_weights
