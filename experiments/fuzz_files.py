"""The mutations of `fuzz.py`: damaged bytes, and files that are crafted to be wrong."""

import gzip
import io
import os
import pickle
import random
import re
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
from PIL import Image

Random = random.Random
HUGE = [0, 1, -1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 10**300]
# Values for a place in a TOML or JSON text.
TEXTS = ["9" * 4301, "9" * 310, "9" * 310 + ".0", "1e999", "-1", "0", "true", "null", "nan", "inf", "[]", "{}", '""']
TEXTS += ["[" * 500, '"\\u0000"', '"' + "x" * 70_000 + '"', "1979-05-27", "0x" + "f" * 4000, "400000", "5000000000000"]
TEXTS += ["[" * 90 + "1" + "]" * 90, '"\\u001b[2J"', '[1, "a"]', "{a = 1}", '{"a": 1}', "1e-320", '"../../x"', "['x']"]


# ---- damaged bytes --------------------------------------------------------------------------------------------------


def _flip(content: bytes, r: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(r.choice([1, 1, 1, 2, 8])):
        place = r.randrange(len(changed))
        # Headers stand at the two ends.
        if r.random() < 0.4:
            place = r.choice([place % 99, -1 - place % 99])
        changed[place] ^= 1 << r.randrange(8)
    return bytes(changed)


def _splice(content: bytes, r: Random, new: bytes, replaced: int = 0) -> bytes:
    place = r.randrange(len(content) if r.random() < 0.5 else min(200, len(content)))
    return content[:place] + new + content[place + replaced :]


def _number(content: bytes, r: Random) -> bytes:
    size, number = r.choice([1, 2, 4, 8]), r.choice(HUGE[:-1])
    return _splice(content, r, (number % (1 << 8 * size)).to_bytes(size, r.choice(["big", "little"])), size)


DAMAGES: Mapping[str, Callable[[bytes, Random], bytes]] = {
    "bits flipped": _flip,
    "more bits flipped": lambda content, r: _flip(_flip(content, r), r),
    "truncated": lambda content, r: content[: r.randrange(len(content))],
    "huge number": _number,
    "bytes removed": lambda content, r: _splice(content, r, b"", r.randrange(1, 64)),
    "bytes inserted": lambda content, r: _splice(content, r, r.randbytes(r.randrange(1, 64))),
    "part doubled": lambda content, r: _splice(content, r, content[: r.randrange(len(content))]),
    "bytes appended": lambda content, r: content + r.choice([bytes(9), r.randbytes(20)]),
    "random bytes": lambda content, r: content[: r.choice([0, 4, 16])] + r.randbytes(r.randrange(400)),
}


# ---- crafted files --------------------------------------------------------------------------------------------------


class Trap:
    """A pickle that makes a folder where it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=True)
    return stream.getvalue()


def npy_header(text: str) -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text) % 2**16) + text.encode("latin1")


def bad_npy(array: np.ndarray, r: Random) -> bytes:
    """Return a .npy file that is wrong in itself."""
    content, kind = npy(array), r.randrange(5)
    if kind == 0:
        shape = ", ".join(str(r.choice(HUGE)) for _ in range(r.randrange(1, 5)))
        dtype = r.choice(["|u1", "<f8", "<U9", "|V0", "|O", "<M8[s]", "<c8", "|S0"])
        header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({shape},)}}"
        return npy_header(header) + bytes(r.randrange(1, 9))
    if kind == 1:
        return npy_header(r.choice([*TEXTS[:13], "{" * 400, "(" * 9000, "-" * 9000, "1 +", "'\\ud800'", "'''", "f()"]))
    return [npy(np.array([Trap()], object)), content[: r.randrange(len(content))], content + bytes(9)][kind - 2]


@cache
def zeros(size: int) -> bytes:
    """Return `size` zeros as gzip data, in members of 1 MB."""
    return gzip.compress(bytes(1 << 20)) * (size >> 20)


def pack_zip(members: list[tuple[str, bytes]], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(stream, "w", kind) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, kind)
    return stream.getvalue()


@cache
def zip_bomb(name: str, size: int, honest: bool) -> bytes:
    """Return an archive whose one member holds `size` zeros, and declares their number or 300 bytes."""
    stream, header = io.BytesIO(), f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({size},)}}"
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open(f"{name}.npy", "w") as member:
            member.write(npy_header(header))
            for _ in range(size >> 20):
                member.write(bytes(1 << 20))
        declared = archive.getinfo(f"{name}.npy").file_size
    return stream.getvalue() if honest else stream.getvalue().replace(struct.pack("<I", declared), b"\x2c\1\0\0")


def retold(text: str, r: Random) -> str:
    """Replace a value in a TOML or JSON text."""
    found = r.choice(list(re.finditer(r'-?\d[\w.+-]*|"[^"\n]*"|true|false|null', text)))
    return text[: found.start()] + r.choice(TEXTS) + text[found.end() :]


def bad_npz(arrays: Mapping[str, np.ndarray], r: Random, size: int) -> tuple[bytes, bool]:
    """Return an archive in which one thing is wrong, and whether it may be read."""
    members = {f"{name}.npy": npy(array) for name, array in arrays.items()}
    name, kind = r.choice(list(arrays)), r.randrange(8)
    array, key = arrays[name], f"{name}.npy"
    if "header" in arrays and r.random() < 0.4:
        text = retold(arrays["header"].tobytes().decode(), r)
        return pack_zip([*{**members, "header.npy": npy(np.frombuffer(text.encode(), np.uint8))}.items()]), True
    if kind == 0:
        return zip_bomb(name, size, r.random() < 0.5), False
    if kind == 1:
        return pack_zip([*members.items(), (key, npy(array[..., :1] if array.ndim else array + 1))]), False
    if kind == 2:
        return pack_zip([*members.items(), ("../../escaped.npy", npy(array))]), False
    if kind == 3:
        return pack_zip([*members.items(), (key + "x" * r.choice([1, 60_000]), pickle.dumps(Trap()))]), False
    if kind == 4 and array.dtype.kind == "f" and array.size:
        array = array.copy()
        array.flat[0] = r.choice([np.nan, np.inf])
        return pack_zip([*{**members, key: npy(array)}.items()]), any(n.startswith("network.") for n in arrays)
    if kind == 4 and array.dtype.kind == "U":
        # A code point that does not exist.
        content = members[key][:-4] + b"\xff\xff\xff\x7f"
        return pack_zip([*{**members, key: content}.items()]), False
    if kind == 5 and array.dtype.kind != "U":
        wrong = np.float16 if array.dtype.kind == "f" else np.float64
        return pack_zip([*{**members, key: npy((array / 3).astype(wrong))}.items()]), False
    return pack_zip([*{**members, key: bad_npy(array, r)}.items()], r.choice([0, 8, 12, 14])), False


def bad_tar(contents: Mapping[str, bytes], r: Random, size: int) -> tuple[bytes, bool]:
    """Return a .tar.gz in which one member is wrong, and whether it may be read."""
    members = [(tarfile.TarInfo(f"cifar-10-batches-bin/{name}"), content) for name, content in contents.items()]
    for info, content in members:
        info.size = len(content)
    info, kind = r.choice(members)[0], r.randrange(5)
    if kind == 0:
        info.size = r.choice([2**31, 2**33, 2**62, 10**9, 3072])
    elif kind == 1:
        info.type, info.linkname = r.choice([b"1", b"2", b"3", b"5", b"x", b"g", b"L", b"K", b"S", b"Z"]), "/etc/passwd"
        info.size = r.choice([info.size, 2**62, 0])
    elif kind == 2:
        members.insert(0, (tarfile.TarInfo(r.choice(["../../escaped", "/tmp/escaped", "a/../../escaped"])), b""))
    elif kind == 3:
        info.name = r.choice(["", "x" * 90, "\x1b[2J", "../data_batch_1.bin"])
    else:
        info.size, info.type = size, r.choice([b"0", b"L", b"x"])
        return gzip.compress(info.tobuf(tarfile.GNU_FORMAT)) + zeros(size), False
    parts = [info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512) for info, content in members]
    return gzip.compress(b"".join([*parts, bytes(1024)]), 1), kind == 2


def picture(pixels: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def big_picture(r: Random) -> bytes:
    """Return a PNG or a BMP of zeros that is large, or only says so."""
    side = r.choice([1, 5000, 9000, 12_000, 30_000, 2**31 - 1])
    content = picture(np.zeros((8, 8), np.uint8), kind := r.choice(["PNG", "BMP", "GIF", "TIFF", "PPM"]))
    if kind == "PNG":
        head = b"IHDR" + struct.pack(">2I5B", side, side, 8, r.choice([0, 2, 6]), 0, 0, 0)
        return content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]
    if 1 < side <= 12_000 and kind in ("GIF", "TIFF"):
        return picture(np.zeros((side, side // 2), np.uint8), kind)
    return content.replace(b"8 8", b"%d %d" % (side, side)).replace(struct.pack("<I", 8), struct.pack("<I", side))
