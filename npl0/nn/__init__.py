"""Layers, networks and the models that come with the package."""

from npl0.nn.conv import Conv2d
from npl0.nn.fold import fold_batchnorm
from npl0.nn.layers import AvgPool2d, Dropout, Flatten, Layer, Linear, MaxPool2d, ReLU, Standardise
from npl0.nn.models import MODELS, build_lenet5, build_lenet300, build_model, build_vgg16
from npl0.nn.network import Network
from npl0.nn.norm import BatchNorm

__all__ = [
    "MODELS",
    "AvgPool2d",
    "BatchNorm",
    "Conv2d",
    "Dropout",
    "Flatten",
    "Layer",
    "Linear",
    "MaxPool2d",
    "Network",
    "ReLU",
    "Standardise",
    "build_lenet5",
    "build_lenet300",
    "build_model",
    "build_vgg16",
    "fold_batchnorm",
]
