"""Run the command blocks of README.md and of docs/, word for word, in a fresh clone of this checkout.

Usage: sh scripts/readme [--full] [--keep FOLDER]

README.md comes first: its first line makes the clone, from what git tracks here, as it is now. Then come the tutorial
and the other documents, in the same clone, so that a document may use what an earlier one left. What a reader has and
this machine does not (CTS, DATASET, ...) are small painted examples under just these names.

A comment on the line above a block says what is not as usual:

    <!-- not run: REASON -->       the block cannot run here
    <!-- run by: PATH, ... -->     tests or scripts of this checkout run its commands, with paths of their own
    <!-- file: NAME -->            the block is the text of a file that later commands read

The quick form takes minutes: the clone's `.venv` sees the packages that are installed already, `flare-train fit` gets
`--steps 2` at its end, and `flare-train paint` a few cases. With --full everything is installed anew and trained to the
end, which takes hours.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
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
from train.synth.cohort import write_cohort
from train.synth.cohort_plan import cohort_plan_of
from train.synth.phantom import paint_phantom

ROOT: Final = Path(__file__).resolve().parent.parent

FIRST: Final = ("README.md", "docs/train-tutorial.md")
"""Documents whose results the others use, in this order."""

FENCE: Final = re.compile(r"( *)```(\w*)$")
MARK: Final = re.compile(r" *<!-- (not run|run by|file): (.+) -->$")

QUICK: Final = {"fit": "--steps 2", "paint": "--cases 7 --validation 1 --unlabeled 0 --grid 6"}
"""What the quick form adds to a command of `flare-train`; of an option that is given twice the last value counts."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a document.

    Attributes:
        document: path of the document in the checkout.
        number: line of the document on which the text begins.
        language: the word behind the fence; commands are marked `sh`.
        text: what stands between the fences, without their indentation.
        mark: what the comment above is about, one of `MARK`; empty without a comment.
        said: what the comment says: the reason, the path or the name.
    """

    document: str
    number: int
    language: str
    text: str
    mark: str
    said: str

    def commands(self) -> Iterator[tuple[int, str]]:
        """Its commands, each with its line in the document; one has several lines where they end in a backslash."""
        at, command = 0, ""
        for number, line in enumerate(self.text.splitlines(), start=self.number):
            if not command and not line.strip():
                continue
            at, command = (at, f"{command}\n{line}") if command else (number, line)
            if not line.endswith("\\"):
                yield at, command
                command = ""


def documents() -> list[str]:
    """The documents whose blocks are run, in the order in which they are."""
    found = [path for path in (ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md") if path.is_file()]
    found += sorted((ROOT / "docs").rglob("*.md"))
    names = [path.relative_to(ROOT).as_posix() for path in found]
    first = [name for name in FIRST if (ROOT / name).is_file()]
    return first + [name for name in names if name not in FIRST]


def blocks_of(document: str) -> Iterator[Block]:
    """All fenced blocks of a document, in order.

    Raises:
        ValueError: a block without an end, or a comment of this script without a block.
    """
    lines = (ROOT / document).read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        mark = MARK.match(lines[at])
        at += mark is not None
        fence = FENCE.match(lines[at]) if at < len(lines) else None
        if fence is None:
            if mark is not None:
                raise ValueError(f"{document}:{at}: expected a block below the comment")
            at += 1
            continue
        end = at + 1
        while end < len(lines) and lines[end] != f"{fence[1]}```":
            end += 1
        if end == len(lines):
            raise ValueError(f"{document}:{at + 1}: the block has no end")
        text = textwrap.dedent("\n".join(lines[at + 1 : end])) + "\n"
        about = {"mark": mark[1] if mark else "", "said": mark[2] if mark else ""}
        yield Block(document=document, number=at + 2, language=fence[2], text=text, **about)
        at = end + 1


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
    """A `.venv` in the clone; quick: with the packages that this Python sees, and with a shorter `flare-train`."""
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
    (clone / ".venv" / "quick").mkdir()
    shorten(clone / ".venv" / "quick" / "flare-train")


def shorten(program: Path) -> None:
    """Write a `flare-train` that starts the one in the folder `bin` beside its own, with what `QUICK` adds."""
    cases = "".join(f'{name}) set -- "$@" {words} ;;\n' for name, words in QUICK.items())
    program.write_text(f'#!/bin/sh\ncase $1 in\n{cases}esac\nexec "$(dirname "$0")/../bin/flare-train" "$@"\n')
    program.chmod(0o755)


def make_examples(folder: Path) -> None:
    """What the commands read, small and painted, under the names that the documents use.

    Args:
        folder: where the commands run. DATASET comes without annotated.json and split: the README makes them.
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
    write_cohort(folder / "DATASET", cohort_plan_of(7, validation=2, unlabeled=0, spacing_mm=(5.0, 5.0, 5.0)))
    for name in ("annotated.json", "splits.json"):
        (folder / "DATASET" / name).unlink()


def run_command(command: str, place: Path, environment: Mapping[str, str]) -> tuple[int, Path]:
    """Run a command as a shell does; its exit code, and the folder in which it leaves the shell."""
    with tempfile.NamedTemporaryFile(mode="r", encoding="utf-8") as left_in:
        script = f'{command}\npwd >"{left_in.name}"\n'
        path = os.pathsep.join([str(place / ".venv" / "quick"), str(place / ".venv" / "bin"), environment["PATH"]])
        given = {**environment, "PATH": path}
        done = subprocess.run(["sh", "-e", "-c", script], cwd=place, env=given, stdin=subprocess.DEVNULL, check=False)
        return done.returncode, Path(left_in.read().strip() or place)


def run_block(block: Block, place: Path, environment: Mapping[str, str], *, quick: bool) -> tuple[int, Path]:
    """Run the commands of a block until one fails; its exit code, and the folder in which the last leaves the shell."""
    for number, command in block.commands():
        print(f"\n== {block.document}:{number}: {command}", flush=True)
        began = time.monotonic()
        code, place = run_command(command, place, environment)
        if code != 0:
            print(f"{block.document}:{number}: exit code {code}: {command}", file=sys.stderr)
            return code, place
        print(f"== {time.monotonic() - began:.0f} s", flush=True)
        if (place / "scripts" / "setup.sh").is_file() and not (place / ".venv").exists():
            make_environment(place, quick=quick)
            make_examples(place)
    return 0, place


def run_all(work: Path, *, quick: bool) -> int:
    """Run every block in the folder `work`; returns 0 if all went well, otherwise 1 after the first that did not."""
    make_repository(work / "REPOSITORY")
    environment = {**os.environ, "PIP_QUIET": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PYTHONPATH", None)  # the clone runs its own packages
    if quick:
        environment["PIP_NO_BUILD_ISOLATION"] = "0"  # pip reads it as "no": with the setuptools that is there
    start, left_out = work, []
    for document in documents():
        place = start
        for block in blocks_of(document):
            if block.mark == "file":
                (place / block.said).write_text(block.text, encoding="utf-8")
            elif block.language == "sh" and block.mark:
                left_out.append(f"{document}:{block.number}: {block.mark}: {block.said}")
            elif block.language == "sh":
                code, place = run_block(block, place, environment, quick=quick)
                if code != 0:
                    return 1
        if document == FIRST[0]:
            start = place
    print("\nEvery block ran" + (", but for these:" if left_out else "."), *left_out, sep="\n")
    return 0


def main(words: list[str] | None = None) -> int:
    """Run the documents; returns the exit code."""
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
