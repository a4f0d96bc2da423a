"""Packaging of npl0: `pip install -e .` or `pip install .`; tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "npl0" / "__init__.py").read_text(encoding="utf-8"))[1]
IMAGES, DOWNLOAD = ["pillow>=10"], ["pooch>=1.8", "platformdirs>=4"]
EXPORT = ["onnx>=1.17", "safetensors>=0.4.3"]

setup(
    name="npl0",
    version=VERSION,
    description="L0-regularised, fine-grained neural-network pruning on NumPy, SciPy and Numba, every backward by hand",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    # Named, so that an editable install puts this folder on the path. Python then finds the package even from the
    # folder above a clone called npl0, which an import hook would come too late for.
    package_dir={"": "."},
    packages=find_packages(include=["npl0", "npl0.*"]),
    package_data={"npl0": ["py.typed"], "": ["*.pyi"]}
    | {package: ["files/*"] for package in ("npl0.data", "npl0.report", "npl0.sparse")},
    install_requires=[
        "numpy>=2.0",
        "scipy>=1.13",
        "numba>=0.61",
        "threadpoolctl>=3.5",
        "tqdm>=4.66",
        "filelock>=4.0",
        "lazy-loader>=0.6",
        "tomli-w>=1.0",
    ],
    extras_require={
        "test": ["pytest>=8", "hypothesis>=6.100", "ruff>=0.6", "onnxruntime>=1.19", *IMAGES, *DOWNLOAD, *EXPORT],
        "images": IMAGES,
        "download": DOWNLOAD,
        "export": EXPORT,
        "plot": ["matplotlib>=3.8"],
        # For the parity tests and the benchmarks. Its CPU build is enough.
        "parity": ["torch>=2.4"],
        "docs": [
            *("sphinx>=8.1", "myst-parser>=4", "furo>=2024.8", "latex2mathml>=3.77"),
            *("jupytext>=1.16", "nbclient>=0.10", "ipykernel>=6.29"),
        ],
    },
    entry_points={"console_scripts": ["npl0 = npl0.__main__:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
