"""The command with a node: a series goes in by C-STORE, and what the model makes of it comes out."""

import signal
from pathlib import Path

import httpx
from typer.testing import CliRunner

from flare_serve.commands.serve import app
from tests.dicom.series import PATIENT, Made
from tests.flare_serve.node.senders import SEG, Archive, associated, free_port, sent, slices, until
from tests.flare_serve.served import started

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"


def test_a_series_is_segmented_and_its_results_arrive(weights: Path, tmp_path: Path) -> None:
    archive, port = Archive(), free_port()
    settings = tmp_path / "node.toml"
    settings.write_text('send_forms = ["seg", "rtstruct"]\nreleased_seconds = 0.1\n', encoding="utf-8")
    words = ["--dicom-port", str(port), "--dicom-settings", str(settings), "--allow", "CT1@127.0.0.1"]
    words += ["--dicom-title", "AI", "--send-to", f"dicom://ARCHIVE@127.0.0.1:{archive.port}"]
    with archive.listening(), started(tmp_path / "spool", weights, *words) as process:
        with associated(port, calling="CT1", called="AI") as association:
            assert sent(association, slices(Made())) == {0}
        until(lambda: len(archive.received) == 2, 90)
        with httpx.Client(base_url=process.address, trust_env=False) as client:
            until(lambda: "flare_dicom_deliveries_waiting 0.0" in client.get("metrics").text)
            metrics = client.get("metrics").text
            (job,) = client.get("jobs").json()["jobs"]
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(60) == 0
        log = process.log.read_text(encoding="utf-8")
    assert {kind for kind, _ in archive.received} == {SEG, RTSTRUCT}
    assert job["state"] == "done"
    assert job["name"].endswith(" from CT1")
    assert 'flare_events_total{kind="dicom instance stored"} 12.0' in metrics
    assert "flare_dicom_open_series 0.0" in metrics
    assert log.count('"event": "result stored"') == 2
    assert not any(word in log for word in (*PATIENT, "Doe", "Jane", Made().uid))


def test_a_node_that_cannot_be_is_said_in_one_line(weights: Path, tmp_path: Path) -> None:
    words = ["--weights", str(weights), "--spool", str(tmp_path / "spool"), "--port", "0", "--allow", "CT1"]
    done = CliRunner().invoke(app, ["serve", *words, "--dicom-port", "0"])
    assert done.exit_code == 2
    assert "--allow CT1: expected AET@ADDRESS" in " ".join(done.stderr.split())
