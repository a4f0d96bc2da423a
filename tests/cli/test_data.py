"""`python -m npl0 data`: fetch, import and check, their output and exit codes."""

import functools
import hashlib
import http.server
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from npl0.__main__ import main
from npl0.data import cifar10, load_dataset
from npl0.data.fetch import RemoteFile

ROOT = Path(__file__).parents[2]


def file_md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, and no network."""
    monkeypatch.setenv("NPL0_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("NPL0_OFFLINE", "1")
    return tmp_path / "cache"


@pytest.fixture
def data(capsys):
    """Run the command; return its exit code, stdout and stderr."""

    def call(*arguments):
        capsys.readouterr()
        try:
            code = main(["data", *map(str, arguments)])
        except SystemExit as exit_of:
            code = exit_of.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def published(cifar_folder, tmp_path, monkeypatch):
    """A server on this machine that publishes the five-record set, and a package that looks for it there."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            """Keep stderr for the code under test."""

    streams = {name: (cifar_folder / name).read_bytes() for name in cifar10.BATCH_MD5}
    archive = tmp_path / "www" / cifar10.ARCHIVE.name
    archive.parent.mkdir()
    cifar10._write_archive(archive, streams)
    handler = functools.partial(Quiet, directory=archive.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/{archive.name}"
        remote = RemoteFile("cifar10", url, archive.stat().st_size, file_md5(archive))
        monkeypatch.setattr(cifar10, "ARCHIVE", remote)
        monkeypatch.setattr(cifar10, "BATCH_MD5", {name: file_md5(cifar_folder / name) for name in streams})
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setenv("NPL0_OFFLINE", "0")
        yield archive
        server.shutdown()
        thread.join()


def cells(out: str, name: str) -> list[str]:
    """Return the cells of a set's line."""
    (line,) = [line for line in out.splitlines() if line.startswith(name + " ")]
    return line.split()[1:]


def test_fetch_downloads_and_shows_the_set(data, published, cache, cifar_folder):
    code, out, err = data("fetch", "cifar10")
    fingerprint = load_dataset("cifar10", cifar_folder).fingerprint[:16]
    assert code == 0 and f"{published.name}: 100%" in err and "note" not in err
    assert cells(out, "cifar10") == [str(cache / published.name), "yes", fingerprint, "25", "5"]
    published.unlink()
    assert data("fetch", "cifar10") == (0, out, "")
    assert data("check", "cifar10") == (0, out, "")


def test_fetch_does_not_replace_what_was_imported(data, published, cache, cifar_folder):
    changed = bytearray((cifar_folder / "test_batch.bin").read_bytes())
    changed[5] ^= 1
    (cifar_folder / "test_batch.bin").write_bytes(changed)
    code, out, err = data("import", cifar_folder)
    assert code == 0 and cells(out, "cifar10")[1] == "no"
    assert f"note: {cifar_folder} is not, byte for byte, the published set" in err
    code, again, err = data("fetch", "cifar10")
    assert (code, again) == (0, out)
    assert f"note: {cache / published.name} was there already; delete it to download the published set" in err


def test_fetch_of_what_is_included(data):
    assert data("fetch", "mnist") == (0, "mnist is inside the package: there is nothing to download\n", "")


def test_fetch_offline_fails(data, cache):
    code, out, err = data("fetch", "cifar10")
    assert (code, out) == (1, "") and f"not in the cache {cache}, and the network is off" in err
    assert not cache.exists()


def test_fetch_that_is_interrupted(data, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cifar10, "fetch", interrupt)
    code, out, err = data("fetch", "cifar10")
    assert (code, out) == (130, "") and "interrupted; what was downloaded is kept" in err


def test_check_shows_every_set(data, cifar_folder):
    code, out, err = data("check")
    assert (code, err) == (0, "")
    assert " ".join(cells(out, "mnist")) == "inside the package yes e0130f111822ed58 60,000 10,000"
    assert " ".join(cells(out, "cifar10")) == "not downloaded - - - -"
    assert cells(out, "synthetic")[-3:] == ["5a8f6d91fc17e3dd", "2,000", "500"]
    code, _, err = data("import", cifar_folder)
    assert code == 0 and "took the place" not in err
    assert cells(data("check")[1], "cifar10")[-2:] == ["25", "5"]
    # An import replaces what is there, and says so.
    assert "took the place of the one that was in" in data("import", cifar_folder)[2]


def test_check_of_what_is_missing_or_damaged_fails(data, cache, cifar_folder):
    code, out, err = data("check", "cifar10")
    assert code == 1 and "not downloaded" in out and "`python -m npl0 data fetch cifar10` downloads it" in err
    data("import", cifar_folder)
    path = cache / cifar10.ARCHIVE.name
    path.write_bytes(path.read_bytes()[:1000])
    for arguments in (["check"], ["check", "cifar10"]):
        code, out, err = data(*arguments)
        assert code == 1 and cells(out, "cifar10")[0] == str(path)
        assert f"{path}: cannot be read as a .tar.gz archive" in err and "delete the cached copy" in err


def test_import_of_what_is_not_there_or_not_the_set(data, tmp_path, cache):
    code, out, err = data("import", tmp_path / "nowhere")
    assert (code, out) == (1, "") and "nowhere does not exist; name cifar-10-binary.tar.gz or a folder" in err
    code, out, err = data("import", tmp_path)
    assert (code, out) == (1, "") and "has no data_batch_1.bin" in err
    assert not cache.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "arguments are required: ACTION"),
        (["fetch"], "arguments are required: NAME"),
        (["fetch", "cifar"], "data set 'cifar' is unknown: did you mean 'cifar10'?"),
        (["check", "imagenet"], "data set 'imagenet' is unknown: use one of mnist, cifar10, synthetic"),
        (["import"], "arguments are required: FILE-OR-FOLDER"),
        (["fetsch"], "invalid choice: 'fetsch'"),
        (["check", "--force"], "unknown argument '--force'"),
    ],
)
def test_usage_errors(arguments, message, data):
    code, out, err = data(*arguments)
    assert (code, out) == (2, "") and message in err and err.startswith("python -m npl0 data")


def test_help_is_quick_and_loads_no_arrays():
    imports = "import sys; from npl0.cli.data import main"
    code = f"{imports}\ntry: main(['-h'])\nexcept SystemExit: print('numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "fetch" in out and "NPL0_OFFLINE=1" in out and out.endswith("False\n")
