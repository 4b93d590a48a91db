"""A time stamp authority for tests: OpenSSL's own, behind a server on loopback."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

CONFIGURATION = """
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:true
[tsa]
extendedKeyUsage = critical, timeStamping
[stamps]
serial = serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
"""


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


@contextmanager
def stamping(folder: Path) -> Iterator[tuple[str, Path]]:
    """The address of a running authority, and its root certificate."""
    (folder / "conf").write_text(CONFIGURATION)
    (folder / "serial").write_text("01\n")
    new = ("req", "-config", "conf", "-newkey", "ed25519", "-nodes", "-keyout")
    openssl(folder, *new, "ca.key", "-x509", "-subj", "/CN=root", "-extensions", "ca", "-out", "ca")
    openssl(folder, *new[:4], "rsa:2048", *new[5:], "tsa.key", "-subj", "/CN=tsa", "-out", "asked")
    signed = ("-CA", "ca", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "conf")
    openssl(folder, "x509", "-req", "-in", "asked", *signed, "-extensions", "tsa", "-out", "tsa")

    class Stamping(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            (folder / "query").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            reply = ("ts", "-reply", "-config", "conf", "-section", "stamps", "-queryfile", "query")
            openssl(folder, *reply, "-signer", "tsa", "-inkey", "tsa.key", "-out", "reply")
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write((folder / "reply").read_bytes())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Stamping)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", folder / "ca"
    server.shutdown()
    thread.join()
    server.server_close()
