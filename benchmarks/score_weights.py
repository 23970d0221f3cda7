"""The shipped weights on the real CTs, by the commands of `flare-eval`: accuracy, time and memory.

Usage: python -m benchmarks.score_weights DATA WEIGHTS REPORT

DATA holds ct/NAME_0000.nii.gz, ct/NAME_labels.nii.gz and ct/annotated.json. Every case is one start of `predict.sh`, as
in the challenge. Cases named in the weights' own model.json were seen in training and are reported apart: their scores
say how well the model fits, not how well it does.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import dated, made_with
from flare_eval.label_maps.annotations import FILE_NAME, read_annotations
from flare_infer.model.model_file import read_model_file

ROOT = Path(__file__).resolve().parent.parent
NEVER_A_TEST_CASE = "lits117_crop"
"""Its header does not say where and how large its voxels are."""


def main(data: Path, weights: Path, report: Path) -> None:
    """Run the commands on unseen and on seen cases, and write the report."""
    spec = read_model_file(weights).spec
    names = [name for name in read_annotations(data / "ct" / FILE_NAME).cases if name != NEVER_A_TEST_CASE]
    seen = [name for name in names if name in spec.training["cases"]]
    lines = [
        f"# {spec.name} on real CTs, scored by `flare-eval`",
        "",
        dated("score_weights.py", "numpy", "scipy"),
        made_with(weights),
        "",
        "```sh",
        "flare-eval efficiency --cases CTS --command 'sh predict.sh' --out RESULTS",
        "flare-eval score RESULTS/outputs REFERENCES --weights WEIGHTS --out RESULTS",
        "```",
        "",
    ]
    for title, group in (
        ("Unseen in training", [name for name in names if name not in seen]),
        ("Seen in training: how well the model fits, no measure of its quality", seen),
    ):
        if group:
            lines += [f"## {title}: {len(group)} case(s)", "", *_measure(data / "ct", weights, group), ""]
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _measure(source: Path, weights: Path, names: list[str]) -> list[str]:
    """Table and notes of the summary, and Table 5, of some cases."""
    with tempfile.TemporaryDirectory() as folder:
        cases, results = Path(folder) / "cases", Path(folder) / "results"
        cases.mkdir()
        shutil.copy(source / FILE_NAME, cases)
        for name in names:
            for ending in ("_0000.nii.gz", "_labels.nii.gz"):
                (cases / f"{name}{ending}").symlink_to((source / f"{name}{ending}").resolve())
        _flare_eval(
            weights, "efficiency", "--cases", cases, "--command", f"cd '{ROOT}' && exec sh predict.sh", "--out", results
        )
        _flare_eval(weights, "score", results / "outputs", cases, "--weights", weights, "--out", results)
        # Without the title and the notes, which name folders of this machine.
        summary = (results / "summary.md").read_text(encoding="utf-8").splitlines()[2:]
        kept = "\n".join(line for line in summary if folder not in line).strip().splitlines()
        return [*kept, "", *(results / "table5.md").read_text(encoding="utf-8").splitlines()]


def _flare_eval(weights: Path, *arguments: str | Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from flare_eval.commands.app import main; main()",
        *(str(part) for part in arguments),
    ]
    python = str(Path(sys.executable).parent)  # where predict.sh finds its python3
    folders = {
        "FLARE_WEIGHTS": str(weights.resolve()),
        "PATH": f"{python}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run(command, env={**os.environ, **folders}, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
