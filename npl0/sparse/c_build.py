"""Compile an exported C file, measure its code and its time, or load it."""

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

from npl0.sparse.c_source import CSource

FLAGS = ("-O2", "-std=c99", "-Wall", "-Wextra", "-Werror")
_TIMER = """\
#include "{name}.h"
#include <stdio.h>
#include <time.h>
int main(void) {{
    static uint8_t image[{NAME}_INPUTS];
    double best = 1e9;
    int classes = 0;
    for (int i = 0; i < {NAME}_INPUTS; i++) image[i] = (uint8_t)(i * 7919 >> 3);
    for (int part = 0; part < 20; part++) {{
        int images = 0;
        const clock_t start = clock();
        while (clock() - start < CLOCKS_PER_SEC / 100) classes += {name}_classify(image), images++;
        const double each = 1e3 * (double)(clock() - start) / CLOCKS_PER_SEC / images;
        if (each < best) best = each;
    }}
    printf("%g\\n", best);
    return classes < 0;
}}
"""


def measure(c: CSource, name: str = "model") -> tuple[int, float] | None:
    """Compile with gcc, and return the bytes of code and the milliseconds that an image takes; None without gcc.

    The time is that of the processor in a process of one thread, the least of 20 parts of 10 ms.
    """
    if not (shutil.which("gcc") and shutil.which("size")):
        return None
    with tempfile.TemporaryDirectory() as folder:
        texts = {f"{name}.h": c.header, f"{name}.c": c.source, "timer.c": _TIMER.format(name=name, NAME=name.upper())}
        for file, text in texts.items():
            (Path(folder) / file).write_text(text, encoding="utf-8")

        def run(*words: str) -> str:
            return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True).stdout

        run("gcc", *FLAGS, "-c", f"{name}.c", "-o", "model.o")
        run("gcc", *FLAGS, "timer.c", "model.o", "-o", "timer")
        return int(run("size", "model.o").splitlines()[1].split()[0]) - c.constants, float(run("./timer"))


def load_library(c: CSource) -> ctypes.CDLL:
    """Compile with gcc, and load the functions `model_predict` and `model_classify`, of `to_c` with its own name."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in {"model.h": c.header, "model.c": c.source}.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        words = ["gcc", *FLAGS, "-shared", "-fPIC", "model.c", "-o", "model.so"]
        subprocess.run(words, cwd=folder, capture_output=True, check=True)
        return ctypes.CDLL(str(Path(folder) / "model.so"))
