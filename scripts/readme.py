"""Run the code blocks of README.md, one after the other and word for word, in a fresh clone of this checkout.

Usage: sh scripts/readme [--full] [--keep FOLDER]

The clone is made by the README's own first line, from what git tracks here, as it is now. What a reader has and this
machine does not (CTS, DATASET, ...) are small painted examples under just these names. Lines that cannot run here are
listed with the reason.

The quick form takes minutes: the clone's `.venv` sees the packages that are installed already, and `flare-train fit`
gets `--steps 2` at its end. With --full everything is installed anew and trained to the end, which takes hours.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from flare_eval.accuracy.scoring import score_folder
from flare_eval.reports.write import write_score_report
from flare_infer.formats.volume_io import write_volume
from flare_infer.model.weights import find_weights
from flare_infer.nnunet.exporting import export_nnunet
from flare_infer.shell.standard_streams import hold_standard_streams
from train.synth.phantom import paint_phantom

ROOT: Final = Path(__file__).resolve().parent.parent

NOT_RUN: Final[Mapping[str, str]] = {
    "sh scripts/test": "it is the whole test suite, which runs by itself in CI",
    "flare-eval efficiency": "it runs an image, so it needs Docker or podman; tests/flare_eval runs it without",
}
"""Beginnings of lines that are not run here, and why."""

QUICK_STEPS: Final = 2
"""Steps of `flare-train fit` in the quick form."""


@dataclass(frozen=True)
class Line:
    """A command of a block: where it stands, and its text, which has several lines where they end in a backslash."""

    number: int
    text: str

    @property
    def why_not(self) -> str | None:
        """The reason if it is not run here."""
        return next((reason for start, reason in NOT_RUN.items() if self.text.startswith(start)), None)


def lines_of(readme: str) -> Iterator[Line]:
    """The commands of all blocks that are marked `sh`, in order."""
    inside, number, text = False, 0, ""
    for at, line in enumerate(readme.splitlines(), start=1):
        if line.startswith("```"):
            inside = line == "```sh"
        elif inside and (text or line.strip()):
            number, text = (number, f"{text}\n{line}") if text else (at, line)
            if not line.endswith("\\"):
                yield Line(number, text)
                text = ""


def make_repository(folder: Path) -> None:
    """A repository of one commit: the files that git tracks here, as they are now."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    author = ["-c", "user.name=readme", "-c", "user.email=readme@localhost"]
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "The checkout as it is"]):
        subprocess.run(["git", *author, *words], cwd=folder, check=True)


def make_environment(clone: Path, *, quick: bool) -> None:
    """A `.venv` in the clone; quick: with the packages that this Python sees, and a short `flare-train fit`."""
    subprocess.run([sys.executable, "-m", "venv", str(clone / ".venv")], check=True)
    if not quick:
        return
    python = str(clone / ".venv" / "bin" / "python")
    # Python 3.11 puts an old one there, which would hide the one that is seen.
    subprocess.run(
        [python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools"], capture_output=True, check=True
    )
    inside = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(inside, capture_output=True, text=True, check=True).stdout.strip())
    seen = [path for path in (sysconfig.get_path("purelib"), *sys.path) if path.endswith("-packages")]
    (packages / "seen.pth").write_text("\n".join(dict.fromkeys(seen)) + "\n", encoding="utf-8")
    short = clone / ".venv" / "quick"
    short.mkdir()
    start = f'#!/bin/sh\n[ "$1" != fit ] || set -- "$@" --steps {QUICK_STEPS}\n'
    (short / "flare-train").write_text(start + 'exec "$(dirname "$0")/../bin/flare-train" "$@"\n')
    (short / "flare-train").chmod(0o755)


def make_examples(folder: Path, *, confirmed: bool) -> None:
    """What the README's commands read, small and painted, under the names that it uses.

    Args:
        folder: where the commands run.
        confirmed: whether DATASET comes with annotated.json and a split; without, the README has to make them.
    """
    for number in range(3):
        image, labels = paint_phantom(np.random.default_rng(number), (48, 64, 64), (6.0, 5.0, 5.0))
        for name, volume in ((f"CTS/case{number}_0000", image), (f"REFERENCES/case{number}", labels)):
            (folder / name).parent.mkdir(exist_ok=True)
            write_volume(folder / f"{name}.nii.gz", volume)
        for away, name in enumerate(("PREDICTIONS", "b", "c")):
            moved = np.roll(labels.array_zyx, away + number, axis=2)
            (folder / name).mkdir(exist_ok=True)
            write_volume(
                folder / name / f"case{number}.nii.gz", type(labels)(array_zyx=moved, placement=labels.placement)
            )
    for result, name in (("A", "PREDICTIONS"), ("B", "b"), ("C", "c")):
        write_score_report(folder / result, score_folder(folder / name, folder / "REFERENCES"))
    export_nnunet(find_weights(ROOT / "weights" / "lite"), folder / "RESULTS")
    paint = [sys.executable, "-m", "train", "paint", str(folder / "DATASET"), "--grid", "5"]
    paint += ["--cases", "7", "--validation", "2", "--unlabeled", "0"]
    subprocess.run(paint, cwd=ROOT, capture_output=True, check=True)
    if not confirmed:
        for name in ("annotated.json", "splits.json"):
            (folder / "DATASET" / name).unlink()


def run_line(line: Line, place: Path, environment: Mapping[str, str]) -> tuple[int, Path]:
    """Run a command as a shell does; its exit code, and the folder in which it leaves the shell."""
    with tempfile.NamedTemporaryFile(mode="r", encoding="utf-8") as left_in:
        command = f'{line.text}\npwd >"{left_in.name}"\n'
        path = os.pathsep.join([str(place / ".venv" / "quick"), str(place / ".venv" / "bin"), environment["PATH"]])
        given = {**environment, "PATH": path}
        done = subprocess.run(["sh", "-e", "-c", command], cwd=place, env=given, stdin=subprocess.DEVNULL, check=False)
        return done.returncode, Path(left_in.read().strip() or place)


def run_all(work: Path, *, quick: bool) -> int:
    """Run every line in the folder `work`; returns 0 if all went well, otherwise 1 after the first that did not."""
    make_repository(work / "REPOSITORY")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    environment = {**os.environ, "PIP_QUIET": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if quick:
        environment["PIP_NO_BUILD_ISOLATION"] = "0"  # pip reads it as "no": with the setuptools that is there
    place, ready, left_out = work, False, []
    for line in lines_of(readme):
        if line.why_not is not None:
            left_out.append(f"README.md:{line.number}: not run: {line.text}: {line.why_not}")
            continue
        print(f"\n== README.md:{line.number}: {line.text}", flush=True)
        began = time.monotonic()
        code, place = run_line(line, place, environment)
        if code != 0:
            print(f"README.md:{line.number}: exit code {code}: {line.text}", file=sys.stderr)
            return 1
        print(f"== {time.monotonic() - began:.0f} s", flush=True)
        if not ready and (place / "scripts" / "setup.sh").is_file():
            make_environment(place, quick=quick)
            make_examples(place, confirmed=re.search(r"^flare-train scan .*--write", readme, re.MULTILINE) is None)
            ready = True
    print("\nEvery line ran" + (", but for these:" if left_out else "."), *left_out, sep="\n")
    return 0


def main(words: list[str] | None = None) -> int:
    """Run the README; returns the exit code."""
    hold_standard_streams()
    parser = argparse.ArgumentParser(prog="scripts/readme", description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="install everything anew, and train to the end: hours")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work in this new folder and leave it")
    options = parser.parse_args(words)
    if options.keep is not None:
        options.keep.mkdir(parents=True)
        return run_all(options.keep.resolve(), quick=not options.full)
    with tempfile.TemporaryDirectory(prefix="flare-readme-") as work:
        return run_all(Path(work).resolve(), quick=not options.full)


if __name__ == "__main__":
    sys.exit(main())
