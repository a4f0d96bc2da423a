"""Damage files in many ways, and check that every reader refuses them in words: `python experiments/fuzz.py`.

A reader must refuse a mutated file with its documented error, or return what the sound file holds. Files without a
checksum (plain IDX and CIFAR-10, TOML, .npy, pictures), and crafted ones with a right checksum, may be other valid
files. Anything else breaks a bound, and so do 200 MB of memory or 2 seconds for one file: the exit code is then 1.
`--reader NAME --first SEED --count 1` repeats one mutation.
"""

import argparse
import gzip
import lzma
import os
import random
import signal
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import npl0
from fuzz_files import DAMAGES, bad_npy, bad_npz, bad_tar, big_picture, npy, picture, retold, zeros
from npl0.cli.run import resolve
from npl0.data.cifar10 import BATCH_MD5, RECORD, _write_archive
from npl0.data.mnist import SHA256
from npl0.declare import Npl0Error
from npl0.runs.build import build_network
from npl0.runs.checkpoint import Checkpoint, TrainingState
from npl0.settings.toml import format_toml
from npl0.sparse import ModelFileError, load, to_npl0, to_onnx
from npl0.sparse.reader import PRECISIONS
from npl0.storage.description import describe_network
from npl0.training.loop import Stage

MAX_MEMORY, MAX_SECONDS, HANG = 200.0, 2.0, 30
OUTCOMES = ("refused", "same", "other valid", "OTHER", "EXCEPTION")
Crafted = tuple[str, bytes, bool]


class Hang(BaseException):
    """A reader takes too long."""


@dataclass
class Reader:
    """Sound files, what reads one of them, and what crafts a file: its name, its content, whether it may be read."""

    contents: dict[str, bytes]
    read: Callable[[Path], Any]
    craft: Callable[[random.Random], Crafted]
    outcomes: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    memory: tuple[float, str] = (0.0, "")
    seconds: tuple[float, str] = (0.0, "")

    def mutate(self, r: random.Random) -> tuple[str, bytes, bool, str]:
        """Return the name of a mutated file, its content, whether it may be another valid file, and what was done."""
        if r.random() < 0.2:
            return *self.craft(r), "crafted"
        name, kind = r.choice(list(self.contents)), r.choice(list(DAMAGES))
        return name, DAMAGES[kind](self.contents[name], r), not name.endswith((".gz", ".xz", ".npz", ".npl0")), kind

    def fuzz(self, name: str, folder: Path, seeds: range) -> bool:
        """Read a mutated file for every seed, and return whether all bounds are kept."""
        folder.mkdir()
        for file, content in self.contents.items():
            (folder / file).write_bytes(content)
        sound = {file: self.read(folder / file) for file in self.contents}
        for seed in seeds:
            file, content, may_differ, kind = self.mutate(random.Random(f"{name} {seed}"))
            (folder / file).write_bytes(content)
            base, began = memory("VmRSS", reset=True), time.perf_counter()
            signal.alarm(HANG)
            try:
                equal, text = self.read(folder / file) == sound[file], ""
                outcome = "same" if equal else "other valid" if may_differ else "OTHER"
            except Npl0Error as error:
                outcome, text = "refused", str(error)
                if len(text) > 2500 or not text.isprintable():
                    outcome, text = "EXCEPTION", f"message of {len(text)} characters: {text[:300]!r}"
            except (Exception, Hang) as error:
                outcome, text = "EXCEPTION", f"{type(error).__name__}: {str(error)[:300]!r}"
            signal.alarm(0)
            what = f"seed {seed} ({kind}, {file})"
            self.seconds = max(self.seconds, (time.perf_counter() - began, what))
            self.memory = max(self.memory, (memory("VmHWM") - base, what))
            (folder / file).write_bytes(self.contents[file])
            self.outcomes[outcome] += 1
            self.faults += [f"{name}, {what}: {outcome} {text}"] * outcome.isupper()
        if sorted(os.listdir(folder)) != sorted(self.contents):
            self.faults.append(f"{name}: something was written, there are now {os.listdir(folder)}")
        return not self.faults and self.memory[0] < MAX_MEMORY and self.seconds[0] < MAX_SECONDS


def memory(what: str, reset: bool = False) -> float:
    """Return the resident memory (VmRSS) or its peak since the last reset (VmHWM) in MB; 0 on systems without /proc."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))


# ---- the readers ----------------------------------------------------------------------------------------------------


def plain(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return arrays as values that can be compared."""
    return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in arrays.items()}


def packed(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files, two of three compressed."""
    ways = (("", bytes), (".gz", gzip.compress), (".xz", lzma.compress))
    return {name + ways[i % 3][0]: ways[i % 3][1](content) for i, (name, content) in enumerate(contents.items())}


def dataset(name: str, of_folder: bool) -> Callable[[Path], Any]:
    """Return what reads a data set from a file, or from the folder that holds it."""

    def read(path: Path) -> Any:
        found = npl0.load_dataset(name, path.parent if of_folder else path)
        return found.fingerprint, found.classes, found.mean, found.std

    return read


def data_readers(folder: Path, size: int) -> dict[str, Reader]:
    """Return the readers of data sets and images; `size` is that of bombs."""
    g = np.random.default_rng(0)
    pixels, labels = g.integers(0, 256, (12, 28, 28), np.uint8), (np.arange(12) % 3).astype(np.uint8)

    def idx(shape: tuple[int, ...], content: bytes = b"") -> bytes:
        return struct.pack(f">2xBB{len(shape)}I", 8, len(shape), *shape) + content

    sets = (pixels[:8], labels[:8], pixels[8:], labels[8:])
    idx_files = packed({name: idx(a.shape, a.tobytes()) for name, a in zip(SHA256, sets, strict=True)})
    batches = {name: b"".join(bytes([i]) + g.bytes(RECORD - 1) for i in range(2)) for name in BATCH_MD5}
    batch_files = packed(batches)
    keras = dict(zip(("x_train", "y_train", "x_test", "y_test"), sets, strict=True))
    arrays = {**keras, "classes": np.array(["a", "b", "c"])}
    _write_archive(folder / "c.tar.gz", batches)
    np.savez_compressed(folder / "data.npz", **arrays)
    images = {"a.npy": npy(pixels[:2]), "b": npy(pixels[0] / 1.0), "c.idx": idx((2, 28, 28), pixels[:2].tobytes())}
    shades = {"L": pixels[0], "RGB": pixels[:3].transpose(1, 2, 0), "RGBA": pixels[:4].transpose(1, 2, 0)}
    kinds = {"L": "PNG JPEG GIF BMP TIFF PPM WEBP ICO TGA", "RGB": "PNG JPEG", "RGBA": "PNG"}
    pictures = {f"{mode}.{k}": picture(shades[mode], k) for mode, names in kinds.items() for k in names.split()}

    def bad_idx(r: random.Random) -> Crafted:
        name = r.choice(list(idx_files))
        start = idx((size // 784, 28, 28) if "images" in name else (size,))
        huge = idx(tuple(r.choice([0, 1, 28, 2**31, 2**32 - 1]) for _ in range(r.randrange(5))), bytes(20))
        return name, r.choice([gzip.compress(start) + zeros(size), zeros(size), huge]), False

    def bad_batch(r: random.Random) -> Crafted:
        name = r.choice(list(batch_files))
        return name, r.choice([zeros(size), gzip.compress(batches["test_batch.bin"] + b"\1"), b"\x0b" * RECORD]), False

    def bad_image(r: random.Random) -> Crafted:
        array = r.choice([pixels > 9, pixels.astype(complex), pixels[:0], np.full((28, 28), np.nan), np.array(3)])
        return "b", r.choice([lambda: bad_npy(pixels, r), lambda: zeros(size), lambda: npy(array)])(), False

    def read_image(path: Path) -> Any:
        return plain({"": npl0.data.read_images(path, (1, 28, 28), 1.0, False, lambda line: None)})

    return {
        "idx": Reader(idx_files, dataset("mnist", True), bad_idx),
        "cifar10": Reader(batch_files, dataset("cifar10", True), bad_batch),
        "cifar10-archive": Reader(
            {"c.tar.gz": (folder / "c.tar.gz").read_bytes()},
            dataset("cifar10", False),
            lambda r: ("c.tar.gz", *bad_tar(batches, r, size)),
        ),
        "npz-data": Reader(
            {"d.npz": (folder / "data.npz").read_bytes()},
            dataset("mnist", False),
            lambda r: ("d.npz", *bad_npz(arrays, r, size)),
        ),
        "arrays": Reader(images, read_image, bad_image),
        "pictures": Reader(pictures, read_image, lambda r: ("L.PNG", big_picture(r), True)),
    }


def network_readers(folder: Path, size: int) -> dict[str, Reader]:
    """Return the readers of models, checkpoints and TOML files."""
    layers = [npl0.Standardise([0.1], [0.3]), npl0.Conv2d(1, 3, 5), npl0.BatchNorm(3), npl0.MaxPool2d(4), npl0.ReLU()]
    network = npl0.Network([*layers, npl0.Flatten(), npl0.Linear(108, 10)], (1, 28, 28), seed=1)
    pruner = npl0.L0(network)
    parts = {"network": network, "pruner": pruner, "optimizer": Stage("train", npl0.Recipe(epochs=1)).begin(pruner, 64)}
    facts = ({"seed": 0}, "0" * 64, "repeat the run")
    model, stored = folder / "m.npz", folder / "c.npz"
    npl0.save_model(model, network, classes=["a", "b"], settings={"data": "mnist"}, data={"name": "mnist"})
    Checkpoint(stored, *facts).save(TrainingState(), network, pruner, parts["optimizer"])
    settings = format_toml(resolve({"model": "lenet300"}).used())
    described = format_toml({"layers": describe_network(network)["layers"]})

    def read_checkpoint(path: Path) -> Any:
        with Checkpoint(path, *facts).loading() as (state, arrays):
            for name, part in parts.items():
                part.load_state(arrays[name])
        return state, {name: plain(part.state()) for name, part in parts.items()}

    def read_model(path: Path) -> Any:
        found = npl0.load_model(path)
        return describe_network(found), found.header, plain(found.state())

    def read_packed(path: Path) -> Any:
        try:
            found = load(path)
        # A reader that needs NumPy alone has an error of its own.
        except ModelFileError as error:
            raise Npl0Error(str(error)) from error
        layers = [(kind, plain({n: np.asarray(value) for n, value in given.items()})) for kind, given in found.layers]
        return found.precision, found.name, found.classes, found.input_shape, layers

    def bad_packed(r: random.Random) -> Crafted:
        name, damage = r.choice(list(packs)), r.choice(list(DAMAGES.values()))
        payload = damage(packs[name][9:], r)
        return name, packs[name][:5] + zlib.crc32(payload).to_bytes(4, "little") + payload, True

    def read_settings(path: Path) -> Any:
        config = resolve({}, str(path))
        return config.used(), config.run_name(), describe_network(build_network(config))

    def read_layers(path: Path) -> Any:
        return describe_network(build_network(resolve({"model": str(path)})))

    def arrays_of(path: Path) -> dict[str, np.ndarray]:
        with np.load(path) as archive:
            return dict(archive)

    packs = {f"{precision}.npl0": to_npl0(network, precision, ["a", "b"]) for precision in PRECISIONS}
    readers = {"npl0": Reader(packs, read_packed, bad_packed)}
    npl0.save_model(folder / "m.safetensors", network, classes=["a", "b"])
    tensors, graph = (folder / "m.safetensors").read_bytes(), to_onnx(network)
    start = 8 + int.from_bytes(tensors[:8], "little")

    def bad_tensors(r: random.Random) -> Crafted:
        header = r.choice(list(DAMAGES.values()))(tensors[8:start], r)
        return "m.safetensors", len(header).to_bytes(8, "little") + header + tensors[start:], True

    def bad_graph(r: random.Random) -> Crafted:
        # The operators stand before the arrays.
        return "m.onnx", r.choice(list(DAMAGES.values()))(graph[:600], r) + graph[600:], True

    def read_graph(path: Path) -> Any:
        found = npl0.import_onnx(path)
        return describe_network(found), plain(found.state())

    readers["safetensors"] = Reader({"m.safetensors": tensors}, read_model, bad_tensors)
    readers["onnx"] = Reader({"m.onnx": graph}, read_graph, bad_graph)
    for name, path, read in (("model", model, read_model), ("checkpoint", stored, read_checkpoint)):
        arrays = arrays_of(path)
        bad = lambda r, arrays=arrays: ("f.npz", *bad_npz(arrays, r, size))  # noqa: E731
        readers[name] = Reader({"f.npz": path.read_bytes()}, read, bad)
    for name, text, read in (("settings", settings, read_settings), ("layers", described, read_layers)):
        bad = lambda r, text=text: ("f.toml", retold(text, r).encode(), True)  # noqa: E731
        readers[name] = Reader({"f.toml": text.encode()}, read, bad)
    return readers


def main(arguments: list[str] | None = None) -> int:
    """Fuzz every reader, print a table, and return the exit code."""
    parser = argparse.ArgumentParser(description="Damage files, and check that every reader refuses them.")
    parser.add_argument("--count", type=int, default=20_000, help="mutations of each reader (default: 20000)")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first mutation")
    parser.add_argument("--reader", action="append", help="a reader to try (default: all of them)")
    parser.add_argument("--bomb", type=int, default=1024, help="size of decompression bombs in MB (default: 1024)")
    options = parser.parse_args(arguments)

    def hang(*_: Any) -> None:
        raise Hang(f"more than {HANG} s")

    handler = signal.signal(signal.SIGALRM, hang)
    print(f"{'reader':16}" + "".join(f"{outcome:>12}" for outcome in OUTCOMES) + "   most memory   slowest")
    sound, here = True, os.getcwd()
    # In memory, where files are opened ten times faster.
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as temporary:
        folder = Path(temporary)
        os.chdir(folder)
        try:
            readers = {**data_readers(folder, options.bomb << 20), **network_readers(folder, options.bomb << 20)}
            before = sorted([*os.listdir(folder), *readers])
            for name in options.reader or readers:
                reader = readers[name]
                kept = reader.fuzz(name, folder / name, range(options.first, options.first + options.count))
                counts = "".join(f"{reader.outcomes[outcome]:12,}" for outcome in OUTCOMES)
                print(f"{name:16}{counts}{reader.memory[0]:11.0f} MB{reader.seconds[0]:8.2f} s", flush=True)
                if not kept:
                    sound = False
                    print("\n".join([*reader.faults[:20], f"memory: {reader.memory[1]}, time: {reader.seconds[1]}"]))
            if stray := set(os.listdir(folder)) - set(before):
                sound = False
                print(f"written where nothing may be: {stray}")
        finally:
            os.chdir(here)
            signal.signal(signal.SIGALRM, handler)
    return int(not sound)


if __name__ == "__main__":
    sys.exit(main())
