"""What every test of the node needs."""

import subprocess
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom", reason="needs the extra serve")

from tests.flare_serve.node.senders import program


@pytest.fixture(scope="package")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Files of a certificate of this machine's address that vouches for itself, and of its key."""
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "node.crt", folder / "node.key"
    command = [program("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=node", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True, timeout=60)
    return files
