"""The process: killed and started again, and asked to end."""

import json
import signal
import socket
from pathlib import Path

from tests.flare_serve.served import client_of, ended, files_of, started, until


def test_what_was_accepted_survives_a_kill_and_ends_once(
    weights: Path, scan_file: Path, predicted: bytes, tmp_path: Path
) -> None:
    spool, content = tmp_path / "spool", scan_file.read_bytes()
    with started(spool, weights) as process, client_of(process.address) as client:
        ids = [client.post("jobs", content=content).json()["id"] for _ in range(4)]
        port = int(process.address.rstrip("/").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as half:
            half.sendall(
                b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\nNRRD" + bytes(2**21)
            )
            until(lambda: list((spool / "incoming").iterdir()))
            until(lambda: client.get(f"jobs/{ids[0]}").json()["state"] != "queued")
            process.popen.kill()
            process.popen.wait()
    assert list((spool / "incoming").iterdir())

    token = tmp_path / "token"
    token.write_text("a-token-of-this-test", encoding="utf-8")
    token.chmod(0o644)
    with (
        started(spool, weights, "--token-file", str(token)) as process,
        client_of(process.address) as client,
    ):
        client.headers["Authorization"] = f"Bearer {token.read_text(encoding='utf-8')}"
        assert list((spool / "incoming").iterdir()) == []
        assert sorted(job["id"] for job in client.get("jobs").json()["jobs"]) == sorted(ids)
        for job_id in ids:
            done = ended(client, job_id)
            assert (done["state"], done["starts"] in {1, 2}) == ("done", True)
            assert client.get(done["results"]["labels.nii.gz"]).content == predicted
        assert not [name for name in files_of(spool) if "upload" in name or "incoming" in name]

        last = client.post("jobs", content=content).json()["id"]
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(60) == 0
        lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    assert {"started", "request", "job ended", "ended"} <= {line["event"] for line in lines}
    assert [line["level"] for line in lines if "may read the file of the token" in line["event"]] == ["warning"]
    assert not any(word in json.dumps(lines) for word in ("MUSTERMANN", "a-token-of-this-test"))
    # What was running was finished or waits again, and the lock of the spool is gone.
    left = files_of(spool)
    assert any(name.startswith(f"jobs/{last}/") for name in left)
    assert ".flare-infer.lock" not in left
