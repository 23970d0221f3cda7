"""The real command over the whole corpus at once, and what became of each kind."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from flare_infer.formats.volume_io import case_name
from tests.hostile.kind import Kind, Truth
from tests.hostile.names import FORBIDDEN, GROWING
from tests.hostile.nifti_file import nifti
from tests.hostile.oracle import write_oracle

GOOD = Kind(file="good_0000.nii.gz", sentence="a good scan", outcome="segmented", write=nifti())
LIMIT_S = 300
_AS_ANY_USER = (sys.executable, str(Path(__file__).with_name("as_any_user.py")))


@dataclass(frozen=True, kw_only=True)
class Run:
    """What the command did.

    Attributes:
        code: its exit code.
        lines: what it wrote to the terminal, stdout and stderr.
        outputs: the folder of label maps.
        inputs: the folder of the corpus.
        truths: by file name, what each scan's label map must be.
        peak_bytes: the most memory it held.
        forbids: whether files without permission could not be read, as for any user but root.
    """

    code: int
    lines: tuple[str, ...]
    outputs: Path
    inputs: Path
    truths: dict[str, Truth | None]
    peak_bytes: int
    forbids: bool


def run_corpus(folder: Path, kinds: Sequence[Kind]) -> Run:
    """Write kinds and a good scan into one folder and run the command over it."""
    inputs, outputs, weights = folder / "inputs", folder / "outputs", folder / "weights"
    inputs.mkdir()
    write_oracle(weights)
    truths = {kind.file: kind.write(inputs / kind.file) for kind in (*kinds, GOOD)}
    command = ["predict", inputs, outputs, "--weights", weights, "--device", "cpu"]
    peak = folder / "peak"
    done = threading.Event()
    grower = threading.Thread(target=_grow, args=(inputs / GROWING, done))
    if any(kind.file == GROWING for kind in kinds):
        grower.start()
    process = subprocess.Popen(
        [*_AS_ANY_USER, peak, sys.executable, "-m", "flare_infer", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        said = process.communicate(timeout=LIMIT_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # the command, too, that it has started
        done.set()
        if grower.ident is not None:
            grower.join()
    return Run(
        code=process.returncode,
        lines=tuple(line for text in said for line in text.decode("utf-8").splitlines()),
        outputs=outputs,
        inputs=inputs,
        truths=truths,
        peak_bytes=int(peak.read_text()),
        forbids=_forbids(inputs / FORBIDDEN),
    )


def findings(run: Run, kind: Kind) -> list[str]:
    """What is wrong with what became of a kind; nothing if all is right."""
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    output = run.outputs / f"{case_name(run.inputs / kind.file)}.nii.gz"
    shown = _shown(kind.file)
    about = [line for line in run.lines if f"/{shown}" in line or line.startswith(f"{_shown(output.name)[:-7]}: ")]
    written = [line for line in run.lines if line.startswith(f"{_shown(str(output))}: written in ")]
    errors = [line for line in about if line.startswith("error: ")]
    if kind.outcome == "passed over":
        silent = [f"expected silence, found {line!r}" for line in about if kind.file != "good.nii.gz"]
        exists = [f"{output} exists"] if os.path.exists(output) and kind.file != "good.nii.gz" else []
        told = [line for line in run.lines if kind.words and kind.words in line]
        return silent + exists + ([] if len(told) == bool(kind.words) else [f"expected {kind.words!r}, found {told}"])
    if kind.outcome == "refused":
        if kind.file.startswith("twins"):
            errors = [line for line in run.lines if line.startswith(f"error: {run.inputs}: {shown} and ")]
        wrong = [] if not os.path.exists(output) and not written else [f"{output} was written"]
        if len(errors) != 1 or kind.words not in errors[0]:
            wrong.append(f"expected one error with {kind.words!r}, found {errors}")
        return wrong
    wrong = [] if len(written) == 1 and not errors else [f"expected one line, written, found {written + errors}"]
    notices = [line for line in about if line not in written + errors]
    if [line for line in notices if not kind.words or kind.words not in line] or bool(notices) != bool(kind.words):
        wrong.append(f"expected the notice {kind.words!r}, found {notices}")
    truth = run.truths[kind.file]
    assert truth is not None
    return wrong or label_map_findings(run.inputs / kind.file, output, truth)


def label_map_findings(scan: Path, output: Path, truth: Truth) -> list[str]:
    """What is wrong with a label map: its geometry must be the scan's in ITK's eyes, its labels those of the truth."""
    labels = _itk_read(output)
    found_geometry = (labels.GetSize(), labels.GetSpacing(), labels.GetOrigin(), labels.GetDirection())
    geometry = truth.geometry
    if geometry is None:
        image = _itk_read(scan)
        geometry = (image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    wrong = [
        f"{name}: expected {expected}, found {found}"
        for name, expected, found in zip(
            ("size", "spacing", "origin", "direction"), geometry, found_geometry, strict=True
        )
        if len(expected) != len(found) or not np.allclose(expected, found, rtol=1e-6, atol=1e-5)
    ]
    if labels.GetPixelID() != sitk.sitkUInt8:
        wrong.append(f"expected uint8, found {labels.GetPixelIDTypeAsString()}")
    window = tuple(2 * radius + 1 for radius in truth.margin_zyx)
    surely_bright = ndimage.minimum_filter(truth.bright_zyx, window, mode="nearest")
    surely_dark = ~ndimage.maximum_filter(truth.bright_zyx, window, mode="nearest")
    labels_zyx = sitk.GetArrayFromImage(labels)
    if labels_zyx.shape != truth.bright_zyx.shape:
        return [*wrong, f"expected the shape {truth.bright_zyx.shape}, found {labels_zyx.shape}"]
    missed = int((labels_zyx[surely_bright] != 1).sum()) + int((labels_zyx[surely_dark] != 0).sum())
    return wrong + ([f"{missed} of {labels_zyx.size} labels are wrong"] if missed else [])


def _itk_read(path: Path) -> sitk.Image:
    """An image as SimpleITK reads it, under a plain name with the ending that its content asks for."""
    data = path.read_bytes()
    is_gzip, is_nifti = data[:2] == b"\x1f\x8b", path.name.lower().endswith((".nii", ".nii.gz"))
    ending = ".nii.gz" if is_gzip else ".nii" if is_nifti else path.suffix
    plain = path.parent.parent / f"plain{ending}"
    plain.write_bytes(data)
    try:
        return sitk.ReadImage(str(plain))
    finally:
        plain.unlink()


def _shown(name: str) -> str:
    """How the command shows a name: any sign that a terminal would act upon is escaped, a line break is a blank."""
    shown = name.replace("\n", " ").replace("\x1b", "\\x1b")
    return shown.encode("utf-8", "backslashreplace").decode()


def _grow(path: Path, done: threading.Event) -> None:
    """Let a file grow by a byte every few milliseconds, never to its end."""
    while not done.wait(0.005):
        with path.open("ab") as file:
            file.write(b"\0")


def _forbids(path: Path) -> bool:
    """Whether a process such as the command's is denied a file without permission."""
    if not path.exists():
        return False
    command = [*_AS_ANY_USER, os.devnull, sys.executable, "-c", "import sys; open(sys.argv[1])", path]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode != 0
