"""What a case costs in a warm service, against `flare-infer predict` on the same file, and how soon it begins.

Usage: python -m benchmarks.serve_cost CT WEIGHTS REPORT [RUNS]

By turns, RUNS times (default 5): a job of the service, and the command with the same outputs, a process of its own. The
first job of the service, which imports what later ones have, is not counted.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import dated, made_with
from benchmarks.serving import Server, lines, server

RUNS: Final = 5
OUTPUTS: Final = ("--statistics", "--report")
"""All that a service makes of a NIfTI file."""


def main(ct: Path, weights: Path, report: Path, runs: int) -> None:
    """Measure both ways and write the report."""
    served, predicted = [], []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with server(folder / "spool", weights) as found:
            _job(found, ct)
            for _ in range(runs):
                served.append(_job(found, ct))
                predicted.append(_predict(ct, weights, folder / "outputs"))
                print(served[-1]["seconds"], predicted[-1]["seconds"], flush=True)
            same = all(
                content == predicted[0]["labels"] for content in (run["labels"] for run in (*served, *predicted))
            )
        starts = [line["to_first_window_seconds"] for line in lines(folder, "job ended")][1:]
        reads = [line["read_seconds"] for line in lines(folder, "job ended")][1:]
    of_service = statistics.median(run["seconds"] for run in served)
    of_command = statistics.median(run["seconds"] for run in predicted)
    ratios = [one["seconds"] / other["seconds"] for one, other in zip(served, predicted, strict=True)]
    text = [
        "# A case in a warm service",
        "",
        dated("serve_cost.py", "fastapi", "uvicorn"),
        made_with(weights),
        "",
        f"{ct.name.partition('_0000')[0]}, {runs} runs by turns, medians. Of the service: from the moment in which the "
        "upload was accepted to that in which the job was done. Of the command: the seconds that its report says of "
        "the case, without the start of the process. Both write label map, statistics and page. Label maps "
        f"{'are' if same else 'ARE NOT'} the same byte for byte.",
        "",
        "| what | median | range |",
        "|:---|---:|:---|",
        f"| service, a case (s) | {of_service:.2f} | {_range([run['seconds'] for run in served])} |",
        f"| command, a case (s) | {of_command:.2f} | {_range([run['seconds'] for run in predicted])} |",
        f"| ratio of neighbors | {statistics.median(ratios):.3f} | {_range(ratios, 3)} |",
        f"| from the upload's end to the first window (s) | {statistics.median(starts):.2f} | {_range(starts)} |",
        f"| of these, reading and preparing the scan (s) | {statistics.median(reads):.2f} | {_range(reads)} |",
    ]
    report.write_text("\n".join(text) + "\n", encoding="utf-8")
    print(report.read_text(encoding="utf-8"))


def _job(found: Server, ct: Path) -> dict[str, Any]:
    answer = found.client.post("jobs", content=ct.read_bytes()).raise_for_status().json()
    job = found.ended(answer["id"])
    labels = found.client.get(job["results"]["labels.nii.gz"]).content
    found.client.delete(f"jobs/{job['id']}")
    began, ended = (datetime.fromisoformat(job[name]) for name in ("created", "ended"))
    return {"seconds": (ended - began).total_seconds(), "labels": labels}


def _predict(ct: Path, weights: Path, outputs: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "flare_infer", "predict", str(ct), str(outputs), "--again", *OUTPUTS]
    words = [*command, "--weights", str(weights), "--device", "cpu"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (case,) = json.loads((outputs / "report.json").read_text(encoding="utf-8"))["cases"]
    (labels,) = outputs.glob("*.nii.gz")
    return {"seconds": case["seconds"], "labels": labels.read_bytes()}


def _range(values: list[float], digits: int = 2) -> str:
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


if __name__ == "__main__":
    os.environ.pop("OMP_NUM_THREADS", None)
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else RUNS)
