"""A server on this machine that does what a script says, for the tests of downloads."""

import hashlib
import http.server
import threading
import time

import pytest

from npl0.data.fetch import RemoteFile

BODY = bytes(range(256)) * 2000


class Server(http.server.ThreadingHTTPServer):
    """Answers the n-th request as the n-th word of `script` says, later ones soundly; keeps what was asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[str] = []
        self.ranges: list[str | None] = []
        self.agents: set[str] = set()
        self.body = BODY

    def handle_error(self, request, client_address):
        """Say nothing: a client that goes away is what some tests are about."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends the server's body, or what the script says."""

    def do_GET(self):
        asked = self.headers["Range"]
        self.server.ranges.append(asked)
        self.server.agents.add(self.headers["User-Agent"])
        how = self.server.script.pop(0) if self.server.script else "whole"
        if how.isdigit():
            self.send_error(int(how))
            return
        if how == "stalled":
            time.sleep(0.6)
            return
        body = b"<html>log in first</html>" if how == "wrong" else self.server.body
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and how != "no ranges" else 0
        self.send_response(206 if start else 200)
        if how != "no length":
            self.send_header("Content-Length", str(len(body) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        end = len(body) * 6 // 10 if how in ("cut", "no length") else len(body)
        if how == "slow":
            for i in range(0, end, end // 8):
                self.wfile.write(body[i : i + end // 8])
                time.sleep(0.1)
        else:
            self.wfile.write(body[start:end])

    def log_message(self, *_):
        """Keep stderr for the code under test."""


@pytest.fixture
def server(monkeypatch):
    # The machine's proxy, if it has one, cannot reach this server.
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("NPL0_OFFLINE", raising=False)
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def remote(server) -> RemoteFile:
    md5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
    return RemoteFile("made", f"http://127.0.0.1:{server.server_port}/folder/file.bin", len(BODY), md5)
