"""Time and memory of a submission, one start per case, as the challenge measures them."""

import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flare_eval.efficiency.case_run import CaseRun
from flare_eval.efficiency.curve import Curve, Sampler
from flare_eval.efficiency.launch import Launcher, Started
from flare_eval.efficiency.memory import Gpu
from flare_infer.errors import ImageError, UsageError
from flare_infer.formats.volume_io import IMAGE_SUFFIXES, find_images, is_image_channel, read_volume

RAM: Final = "RAM"
GPU: Final = "GPU"
RAM_LIMIT_GB: Final = 28.0
"""The challenge's limit of main memory."""

_MB_PER_GB: Final = 1024
_OUTPUTS: Final = "outputs"
_LOGS: Final = "logs"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits beyond which a case is ended.

    Attributes:
        ram_gb: main memory in GB; a container is also limited by its runtime.
        seconds: running time; None for no limit.
    """

    ram_gb: float = RAM_LIMIT_GB
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class MeasuredCase:
    """One measured case.

    Attributes:
        run: its time and memory.
        curves: its memory over time, by the name of the memory, "RAM" or "GPU".
    """

    run: CaseRun
    curves: Mapping[str, Curve]


def images_to_run(folder: Path) -> dict[str, Path]:
    """The images of a folder, by case; where some are named CASE_0000, the other files are label maps and left out.

    Raises:
        UsageError: if there is no image.
    """
    images = find_images(folder)
    channels = {case: path for case, path in images.items() if is_image_channel(path)}
    return channels or images


def measure_cases(
    images: Mapping[str, Path],
    launcher: Launcher,
    out: Path,
    gpu: Gpu | None = None,
    limits: Limits | None = None,
) -> Iterator[MeasuredCase]:
    """Run every case in folders of its own, one after the other; one that fails is recorded and the others go on.

    Label maps are kept in `out/outputs`, what the command prints in `out/logs`. Label maps of an earlier run would be
    scored as those of a submission that writes none, so `out/outputs` must be empty.

    Args:
        images: image file of each case, by name of the case.
        launcher: starts the command for a case.
        out: folder for outputs and logs.
        gpu: device whose memory is measured; None if there is none.
        limits: time and memory beyond which a case is ended; by default those of the challenge.

    Raises:
        UsageError: if `out` cannot be written to, or `out/outputs` holds a file.
    """
    try:
        for name in (_OUTPUTS, _LOGS):
            (out / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out}: cannot write here ({error.strerror}); choose another output folder") from error
    if any((out / _OUTPUTS).iterdir()):
        raise UsageError(f"{out / _OUTPUTS}: holds files of an earlier run; remove it or choose another folder")
    for case, image in images.items():
        with tempfile.TemporaryDirectory(prefix="flare-eval-", ignore_cleanup_errors=True) as folder:
            yield _measure(case, image, launcher, _CaseFolders(Path(folder), out), gpu, limits or Limits())


class _CaseFolders:
    """The folders of one case: inputs and outputs as the protocol mounts them, and where its results are kept."""

    def __init__(self, folder: Path, out: Path) -> None:
        _set_mode(folder, 0o755)  # a container's user may be anyone
        self.inputs, self.outputs = folder / "inputs", folder / "outputs"
        self.inputs.mkdir()
        self.outputs.mkdir()
        _set_mode(self.outputs, 0o777)
        self.out = out

    def add_image(self, case: str, image: Path) -> None:
        """Copy the image of the case into `inputs`."""
        suffix = next(ending for ending in IMAGE_SUFFIXES if image.name.lower().endswith(ending))
        target = self.inputs / f"{case}_0000{suffix}"
        shutil.copyfile(image, target)
        _set_mode(target, 0o644)

    def keep_output(self, case: str) -> bool:
        """Copy the label map into `out`; returns whether there was one under the expected name."""
        written = self.outputs / f"{case}.nii.gz"
        if not written.is_file():
            return False
        shutil.copyfile(written, self.out / _OUTPUTS / written.name)
        return True


def _set_mode(path: Path, mode: int) -> None:
    """Set the mode bits of a path; a file system that has none decides by itself who may read and write."""
    with suppress(OSError):
        path.chmod(mode)


def _measure(
    case: str, image: Path, launcher: Launcher, folders: _CaseFolders, gpu: Gpu | None, limits: Limits
) -> MeasuredCase:
    folders.add_image(case, image)
    gpu_before = None if gpu is None else gpu.used_mb()
    with (folders.out / _LOGS / f"{case}.txt").open("wb") as log:
        before = time.perf_counter()
        started = launcher.start(folders.inputs, folders.outputs, log)
        guard = _Guard(started, limits)
        sampler = Sampler({RAM: guard.memory_mb, **({} if gpu is None else {GPU: gpu.used_mb})})
        sampler.start()
        try:
            exit_code = guard.wait()
            seconds = time.perf_counter() - before
        finally:
            started.kill()  # nothing that it left behind may count for the next case, or go on after Ctrl-C
            sampler.stop()
    output = folders.keep_output(case)
    ram, on_gpu = sampler.curves[RAM], sampler.curves.get(GPU, Curve())
    notes = [guard.reason, "" if output else f"no output {case}.nii.gz", "" if ram.mb else "memory could not be read"]
    run = CaseRun(
        case=case,
        size=_size(image),
        seconds=seconds,
        exit_code=exit_code,
        ram_max_mb=ram.maximum_mb,
        ram_area_mb_s=ram.weighted_area_mb_s,
        gpu_before_mb=gpu_before,
        gpu_max_mb=on_gpu.maximum_mb,
        gpu_area_mb_s=on_gpu.official_area_mb_s,
        gpu_area_weighted_mb_s=on_gpu.weighted_area_mb_s,
        output=output,
        note="; ".join(note for note in notes if note),
    )
    return MeasuredCase(run=run, curves=sampler.curves)


class _Guard:
    """Waits for a command, and ends it if it exceeds a limit.

    Attributes:
        reason: why it was ended; empty if it was not.
    """

    def __init__(self, started: Started, limits: Limits) -> None:
        self.reason = ""
        self._started = started
        self._limits = limits
        self._lock = threading.Lock()

    def memory_mb(self) -> float | None:
        """Memory of the command in MB; ends it if that is above the limit."""
        memory = self._started.memory_mb()
        if memory is not None and memory > self._limits.ram_gb * _MB_PER_GB:
            self._end(f"ended: took {memory:.0f} MB, the limit is {self._limits.ram_gb:g} GB")
        return memory

    def wait(self) -> int:
        """The exit code, once the command has ended."""
        try:
            return self._started.process.wait(self._limits.seconds)
        except subprocess.TimeoutExpired:
            self._end(f"ended: ran longer than {self._limits.seconds:g} s")
            return self._started.process.wait()

    def _end(self, reason: str) -> None:
        with self._lock:
            if not self.reason:
                self.reason = reason
                self._started.kill()


def _size(image: Path) -> str | None:
    """Number of voxels along x, y, z, as "512x512x100"; None if the image cannot be read."""
    try:
        return "x".join(str(length) for length in reversed(read_volume(image).shape))
    except ImageError:
        return None
