"""Reading images to classify: `.npy` arrays, IDX files, and pictures through Pillow.

What comes out is always (N, C, H, W) with pixel values in 0..255, the range that a network's `Standardise` layer takes.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from npl0.data import DataError
from npl0.data.idx import read_idx

Shape = tuple[int, ...]

# The mean of a border of ink-free paper: MNIST's is 0, that of a photographed page above 200.
BRIGHT_BORDER = 127


class ImageError(ValueError):
    """An image file cannot be used; the message names the file and the remedy."""


def read_images(
    path: str | Path, input_shape: Shape, scale: float, invert: bool, say: Callable[[str], None]
) -> np.ndarray:
    """Read the images of one file; its kind is told by its first bytes, not by its name.

    Parameters
    ----------
    path : a `.npy` array, an IDX file of grey images (plain or gzip), or a picture.
    input_shape : (C, H, W) of the network. Pictures are scaled to it; arrays and IDX files must have it.
    scale : factor on the values of arrays and IDX files, 255 for values in 0..1.
    invert : whether ink is dark and the ground light; `255 - x` is taken then.
    say : called with one line for what a user should know: a scaled picture, a bright border.

    Returns
    -------
    (N, C, H, W), uint8 or float32, values in 0..255.

    Raises
    ------
    ImageError
        If the file cannot be read, has another shape, or holds NaN or values outside 0..255.
    """
    path = Path(path)
    if len(input_shape) != 3:
        raise ImageError(f"the network takes arrays of shape {input_shape}, not images")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from error
    if content.startswith(b"\x93NUMPY"):
        images = _values(_shaped(_read_npy(content, path), input_shape, path), scale, path)
    elif content.startswith(b"\x1f\x8b") or (content.startswith(b"\0\0") and content[2:3] >= b"\x08"):
        try:
            array = read_idx(content, 3, str(path))
        except DataError as error:
            raise ImageError(str(error)) from error
        images = _values(_shaped(array, input_shape, path), scale, path)
    else:
        images = _read_picture(path, input_shape, say)
        # Only of grey images is ink on paper to be expected; a photograph may be bright.
        if not invert and input_shape[0] == 1 and _border_mean(images) > BRIGHT_BORDER:
            say(f"{path}: its border is bright; dark ink on white paper needs --invert")
    return 255 - images if invert else images


def _read_npy(content: bytes, path: Path) -> np.ndarray:
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError) as error:
        raise ImageError(f"{path}: is not a sound .npy file ({error})") from error
    if array.dtype.kind not in "buif":
        raise ImageError(f"{path}: holds {array.dtype}, not numbers")
    return array


def _shaped(array: np.ndarray, input_shape: Shape, path: Path) -> np.ndarray:
    """Bring one image or several, in one of the layouts, to (N, C, H, W)."""
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
        raise ImageError(
            f"{path}: has shape {found}; the network takes {input_shape}, as {layouts}. Arrays are not scaled; "
            "pictures are"
        )
    if len(array) == 0:
        raise ImageError(f"{path}: holds no image")
    return array


def _values(array: np.ndarray, scale: float, path: Path) -> np.ndarray:
    """Check that the values, times scale, are pixel values in 0..255."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ImageError(f"{path}: contains NaN or infinity; replace them first")
    if scale == 1 and 0 < array.max() <= 1:
        raise ImageError(
            f"{path}: the largest value is {array.max():g}, but pixel values are 0..255; for values in 0..1, add "
            "--scale 255"
        )
    scaled = array if scale == 1 else array * np.float32(scale)
    low, high = scaled.min(), scaled.max()
    if low < 0 or high > 255:
        scales = f" after --scale {scale:g}" if scale != 1 else ""
        raise ImageError(f"{path}: its values are {low:g} to {high:g}{scales}, but pixel values are 0..255")
    return scaled if scaled.dtype == np.uint8 else scaled.astype(np.float32)


def _read_picture(path: Path, input_shape: Shape, say: Callable[[str], None]) -> np.ndarray:
    """Read one picture, uint8 (1, C, H, W)."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImageError(
            f"{path}: no .npy and no IDX file; pictures are read with Pillow (the extra images): pip install pillow"
        ) from error
    channels, height, width = input_shape
    if channels not in (1, 3):
        raise ImageError(f"{path}: the network takes {channels} channels; pictures give 1 (grey) or 3 (RGB)")
    try:
        with Image.open(path) as picture:
            picture.load()
            # Cameras store which way is up beside the pixels.
            upright = ImageOps.exif_transpose(picture)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path}: is not a sound picture, .npy or IDX file ({error})") from error
    if upright.mode.startswith(("I", "F")):
        raise ImageError(f"{path}: has more than 8 bits a channel; save it with 8")
    if upright.has_transparency_data:
        paper = Image.new.kept("RGBA", upright.size, "white")
        upright = Image.alpha_composite(paper, upright.convert("RGBA"))
    upright = upright.convert("L" if channels == 1 else "RGB")
    if upright.size != (width, height):
        distorted = upright.width * height != upright.height * width
        shape = "; its proportions change, so crop it first" if distorted else ""
        say(f"{path}: scaled from {upright.width} x {upright.height} to {width} x {height}{shape}")
        upright = upright.resize(
            (width, height), Image.Resampling.BOX if upright.width > width else Image.Resampling.BICUBIC
        )
    pixels = np.asarray(upright).reshape(height, width, channels)
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))[np.newaxis]


def _border_mean(images: np.ndarray) -> float:
    """Return the mean of the outermost pixels."""
    border = np.ones(images.shape[2:], bool)
    border[1:-1, 1:-1] = False
    return float(images[..., border].mean())
