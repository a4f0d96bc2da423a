"""Reading images to classify: `.npy` arrays, IDX files, and pictures through Pillow."""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from npl0.data.dataset import DataError
from npl0.data.idx import parse_idx
from npl0.data.packed import read_packed
from npl0.storage.archive import parse_npy
from npl0.storage.files import reported

Shape = tuple[int, ...]

# The mean of a border of ink-free paper: MNIST's is 0, that of a photographed page above 200.
BRIGHT_BORDER = 127
# The most pixels of a picture, 2^24 of other formats: photographs must fit, and decoding must take less than 200 MB.
_MOST_PIXELS = {"JPEG": 50_000_000, "MPO": 50_000_000, "PNG": 48_000_000, "WEBP": 12_000_000}
_LARGE = 1 << 21  # pixels above which a picture is reduced before anything else is done with it


def read_images(
    path: str | Path, input_shape: Shape, scale: float, invert: bool, say: Callable[[str], None]
) -> np.ndarray:
    """Read the images in a file; its first bytes, not its name, tell what it is.

    Parameters
    ----------
    path : a `.npy` array or an IDX file of grey images, each plain, gzip or xz, or a picture.
    input_shape : (C, H, W) of the network. Pictures are scaled to it; arrays and IDX files must have it.
    scale : factor on the values of arrays and IDX files, 255 for values in 0..1.
    invert : whether ink is dark on a light ground; the values become `255 - x` then.
    say : called with one line about anything the user should know: a scaled picture, a bright border.

    Returns
    -------
    (N, C, H, W), uint8 or float32, with values in 0..255, which is what a `Standardise` layer expects.

    Raises
    ------
    DataError
        If the file cannot be read, has another shape, or holds NaN or values outside 0..255.
    """
    path = Path(path)
    if len(input_shape) != 3:
        raise DataError(f"the network takes arrays of shape {input_shape}, not images")
    content = read_packed(path)
    if content.startswith(b"\x93NUMPY"):
        images = _pixels(_read_npy(content, path), input_shape, scale, path)
    elif content.startswith(b"\0\0") and content[2:3] >= b"\x08":
        images = _pixels(parse_idx(content, 3, str(path)), input_shape, scale, path)
    else:
        del content  # Pillow reads the file itself
        images = _read_picture(path, input_shape, say)
        # Grey images may be ink on paper; a photograph may well be bright.
        border = np.ones(images.shape[2:], bool)
        border[1:-1, 1:-1] = False
        bright = images[..., border].mean() > BRIGHT_BORDER
        if input_shape[0] == 1 and bright != invert:
            say(f"{path}: its border is {'bright' if bright else 'dark'}; --invert is for dark ink on a light ground")
    return 255 - images if invert else images


def _read_npy(content: bytes, path: Path) -> np.ndarray:
    with reported(DataError, f"{path}: is not a sound .npy file", "make it again with numpy.save"):
        array = parse_npy(content)
    if array.dtype.kind not in "buif":
        raise DataError(f"{path}: holds {array.dtype}, not numbers")
    return array


def _pixels(array: np.ndarray, input_shape: Shape, scale: float, path: Path) -> np.ndarray:
    """Return one or several images in any of the layouts as (N, C, H, W), times `scale`, with values in 0..255."""
    channels, *plane = input_shape
    found, layouts = array.shape, "(C, H, W) or (N, C, H, W)"
    if channels == 1:
        layouts = "(H, W), (N, H, W) or (N, C, H, W)"
        if array.ndim in (2, 3):
            array = array[..., np.newaxis, :, :]
    elif channels == 3:
        layouts = "(C, H, W), (N, C, H, W), (H, W, C) or (N, H, W, C)"
        if input_shape != array.shape[-3:] == (*plane, 3):
            array = np.moveaxis(array, -1, -3)
    if array.shape == input_shape:
        array = array[np.newaxis]
    if array.shape[1:] != input_shape:
        raise DataError(
            f"{path}: has shape {found}; the network takes {input_shape}, as {layouts}. Arrays are not scaled; "
            "pictures are"
        )
    if len(array) == 0:
        raise DataError(f"{path}: holds no image")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{path}: contains NaN or infinity; replace them first")
    if scale == 1 and 0 < array.max() <= 1:
        raise DataError(
            f"{path}: the largest value is {array.max():g}, but pixel values are 0..255; for values in 0..1, add "
            "--scale 255"
        )
    scaled = array if scale == 1 else array * np.float32(scale)
    low, high = scaled.min(), scaled.max()
    if low < 0 or high > 255:
        scales = f" after --scale {scale:g}" if scale != 1 else ""
        raise DataError(f"{path}: its values are {low:g} to {high:g}{scales}, but pixel values are 0..255")
    return scaled.astype(np.float32 if scaled.dtype.kind == "f" else np.uint8, copy=False)


def _read_picture(path: Path, input_shape: Shape, say: Callable[[str], None]) -> np.ndarray:
    """Return a picture as uint8 (1, C, H, W), scaled to the network's input."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(
            f"{path}: no .npy and no IDX file; pictures are read with Pillow (the extra images): pip install pillow"
        ) from error
    channels, height, width = input_shape
    if channels not in (1, 3):
        raise DataError(f"{path}: the network takes {channels} channels; pictures give 1 (grey) or 3 (RGB)")
    with (
        reported(DataError, f"{path}: is not a sound picture, .npy or IDX file", "save it anew as PNG"),
        warnings.catch_warnings(action="ignore"),
    ):
        upright, size = _open_picture(path)
    if upright.has_transparency_data:
        drawn = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn)
        # Light strokes are invisible on white.
        if upright.convert("L").getextrema()[0] > BRIGHT_BORDER:
            upright = Image.alpha_composite(Image.new("RGBA", drawn.size, "black"), drawn)
    upright = upright.convert("L" if channels == 1 else "RGB")
    if upright.size != (width, height):
        shape = "; its proportions change, so crop it first" if size[0] * height != size[1] * width else ""
        say(f"{path}: scaled from {size[0]} x {size[1]} to {width} x {height}{shape}")
        resample = Image.Resampling.BOX if upright.width > width else Image.Resampling.BICUBIC
        upright = upright.resize((width, height), resample)
    pixels = np.asarray(upright).reshape(height, width, channels)
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))[np.newaxis]


def _open_picture(path: Path) -> tuple[Any, tuple[int, int]]:
    """Return a picture the right way up, reduced if it is large, and its width and height before that."""
    from PIL import Image, ImageOps

    with Image.open(path) as picture:
        size, pixels = picture.size, math.prod(picture.size)
        # PostScript is a program, which Pillow would run.
        if picture.format == "EPS":
            raise ValueError("it is PostScript")
        if picture.mode.startswith(("I", "F")):
            raise DataError(f"{path}: has more than 8 bits a channel; save it with 8")
        if pixels > (most := _MOST_PIXELS.get(picture.format, 1 << 24)):
            what = f"{pixels:,} pixels ({size[0]} x {size[1]})"
            raise DataError(f"{path}: has {what}; a {picture.format} may have {most:,}: save a smaller one")
        if pixels > _LARGE:
            picture.draft(None, (1024, 1024))  # a JPEG is reduced while it is decoded
        # Cameras store beside the pixels which way is up.
        upright = ImageOps.exif_transpose(_reduced(picture))
    turned = (upright.width > upright.height) != (size[0] > size[1])
    return upright, size[::-1] if turned else size


def _reduced(picture: Any) -> Any:
    """Return a large picture at a fraction of its size, averaged strip by strip, which needs no memory for a copy."""
    from PIL import Image

    picture.load()
    factor = math.ceil(math.sqrt(picture.width * picture.height / _LARGE))
    if factor < 2:
        return picture
    small = Image.new("RGBA", (-(-picture.width // factor), -(-picture.height // factor)))
    small.info["exif"] = picture.info.get("exif", b"")
    for top in range(0, picture.height, 16 * factor):
        strip = picture.crop((0, top, picture.width, min(picture.height, top + 16 * factor)))
        small.paste(strip.convert("RGBA").reduce(factor), (0, top // factor))
    return small
