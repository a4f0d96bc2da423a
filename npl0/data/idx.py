"""IDX, the file format of MNIST and of sets modelled on it (Fashion-MNIST, KMNIST ...).

All numbers are big-endian. Bytes 0 and 1 are zero, byte 2 is the type of the values (0x08 is uint8), byte 3 the number
of dimensions. A uint32 for each dimension follows, then the values, with the last dimension running fastest. Files of
images begin with 00 00 08 03, files of labels with 00 00 08 01 (format: Yann LeCun's MNIST page).
"""

import math
import struct

import numpy as np

from npl0.data.dataset import DataError

_TYPES = {0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}


def parse_idx(stream: bytes, ndim: int, origin: str) -> np.ndarray:
    """Return the uint8 array in the unpacked content of an IDX file, as a read-only view of `stream`.

    DataError, which names `origin`, if it is not IDX, holds another type, has not `ndim` dimensions (3 for images, 1
    for labels), or is shorter or longer than its header says.
    """
    again, header = "fetch the file again", 4 + 4 * ndim
    if len(stream) < 4:
        fault = f"{len(stream)} bytes, shorter than an IDX header; {again}"
    elif stream[:2] != b"\0\0":
        fault = (
            f"begins with {stream[:4].hex(' ')}, which is not IDX (00 00 08 {ndim:02x} expected); an error page saved "
            f"under the file's name looks like this: look at it, then {again}"
        )
    elif stream[2] != 0x08:
        fault = (
            f"type byte 0x{stream[2]:02x} ({_TYPES.get(stream[2], 'unknown')} values); only 0x08 (uint8) is read: "
            "convert the values to 0..255 and save them as an .npz file (or .npy, to classify them)"
        )
    elif stream[3] != ndim:
        fault = (
            f"{stream[3]} dimensions where {ndim} are expected (images have 3, labels 1); check that the image file "
            "and the label file are not swapped"
        )
    elif len(stream) < header:
        fault = f"truncated at {len(stream)} of the {header} bytes of its header; {again}"
    else:
        shape = struct.unpack_from(f">{ndim}I", stream, 4)
        expected = header + math.prod(shape)
        if len(stream) == expected:
            return np.frombuffer(stream, np.uint8, offset=header).reshape(shape)
        wrong = "truncated" if len(stream) < expected else "too long"
        fault = f"{wrong}, {len(stream)} bytes where its header {shape} needs {expected}; {again}"
    raise DataError(f"{origin}: {fault}")
