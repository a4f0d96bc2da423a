"""Coverage-guided fuzzing of one reader of `fuzz.py`: `python experiments/fuzz_guided.py READER --seconds 60`.

Needs `pip install atheris` (Linux and macOS). Inputs that reach new branches of `npl0.storage`, `npl0.data` and
`npl0.settings` are kept and mutated further. The run ends with an error at the first input that is not refused with the
documented error, nor reads as the sound file or as another valid one, or that takes more than 2 seconds.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["npl0.storage", "npl0.data", "npl0.settings", "npl0.sparse"]):
    import npl0.cli.run
    import npl0.data.cifar10
    import npl0.data.idx
    import npl0.data.images
    import npl0.data.load
    import npl0.data.mnist
    import npl0.sparse.reader
    import npl0.storage.archive
    import npl0.storage.description
    import npl0.storage.model_file  # noqa: F401
    from fuzz import data_readers, network_readers
    from npl0.declare import Npl0Error


def main() -> None:
    """Fuzz until the time is over."""
    parser = argparse.ArgumentParser(description="Coverage-guided fuzzing of one reader.")
    parser.add_argument("reader", help="as in fuzz.py")
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: 60)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        made = data_readers(folder, 1 << 20) | network_readers(folder, 1 << 20)
        reader, place, corpus = made[options.reader], folder / "files", folder / "corpus"
        place.mkdir()
        corpus.mkdir()
        names = list(reader.contents)
        # The first byte of an input chooses the file.
        for i, (name, content) in enumerate(reader.contents.items()):
            (place / name).write_bytes(content)
            (corpus / name).write_bytes(bytes([i]) + content)
        sound = {name: reader.read(place / name) for name in names}

        def try_one(data: bytes) -> None:
            name = names[data[0] % len(names)] if data else names[0]
            (place / name).write_bytes(data[1:])
            try:
                same = reader.read(place / name) == sound[name]
                if not same and name.endswith((".gz", ".xz", ".npz", ".npl0")):
                    raise AssertionError(f"{name} has a checksum, and other content was accepted")
            except Npl0Error as error:
                if len(str(error)) > 2500 or not str(error).isprintable():
                    raise AssertionError(f"message of {len(str(error))} characters") from error
            (place / name).write_bytes(reader.contents[name])

        limits = [f"-max_total_time={options.seconds}", "-timeout=2", "-max_len=65536", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *limits, str(corpus)], try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
