"""Pack the four canonical MNIST files into the package: `python experiments/pack_mnist.py SOURCE_DIR`.

SOURCE_DIR holds the four IDX files, plain or .gz. Nothing is written unless every unpacked file has its published
SHA-256. The script does not import npl0, so that the check is independent of the package's own reader.
"""

import gzip
import hashlib
import sys
import zlib
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "npl0" / "data" / "files"

SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def read_canonical(source: Path, name: str) -> bytes:
    """Return the unpacked bytes of file `name` in `source`, or exit if it is missing or not the published one."""
    plain, packed = source / name, source / f"{name}.gz"
    if plain.is_file():
        stream = plain.read_bytes()
    elif packed.is_file():
        stream = gzip.decompress(packed.read_bytes())
    else:
        sys.exit(f"{source} has neither {plain.name} nor {packed.name}")
    if hashlib.sha256(stream).hexdigest() != SHA256[name]:
        sys.exit(f"{name} in {source} is not the published file: its SHA-256 differs")
    return stream


def pack(stream: bytes) -> bytes:
    """Return `stream` as gzip without name or time stamp, so that packing again gives the same bytes."""
    # gzip.compress uses memory level 8; with level 9 the file is 1 % smaller and unpacks faster.
    compressor = zlib.compressobj(level=9, method=zlib.DEFLATED, wbits=31, memLevel=9)
    return compressor.compress(stream) + compressor.flush()


def main() -> None:
    """Check all four files, then write all four."""
    if len(sys.argv) != 2:
        sys.exit("usage: python experiments/pack_mnist.py SOURCE_DIR")
    streams = {name: read_canonical(Path(sys.argv[1]), name) for name in SHA256}
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, stream in streams.items():
        packed = pack(stream)
        (TARGET / f"{name}.gz").write_bytes(packed)
        print(f"{name}.gz: {len(stream):,} -> {len(packed):,} bytes")


if __name__ == "__main__":
    main()
