"""Our inference against nnU-Net's own predictor: the same weights, the same volumes, one run.

Usage: python -m benchmarks.versus_nnunet PEER_PYTHON DATA REPORT [SLICES...]
       python -m benchmarks.versus_nnunet predict ...     (started by the former: our side, with a clock at each stage)

PEER_PYTHON is the Python of an environment with nnunetv2; DATA holds ct/NAME_0000.nii.gz. The peer's side is in
`nnunet_peer.py`. Both sides start a process for each scan, with the same number of threads, and time their stages.

Labels: the trained weights `weights/lite`, exported to nnU-Net, on real CTs stored in LPS, float32, every window run.
Seconds and memory: the paper's coarse network with random weights, on a real CT resampled to 512 x 512 x SLICES.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch

from benchmarks.machine import SHIPPED, dated, made_with
from flare_eval.accuracy.dice import dice_of_masks
from flare_infer.formats.volume_io import read_volume
from flare_infer.model.model_file import read_model_file
from flare_infer.model.network import UNet
from flare_infer.model.weights import load_networks, save_model
from flare_infer.nnunet.exporting import export_nnunet
from flare_infer.nnunet.importing import ImportOptions, import_nnunet

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCE: Final = "lidc_chest"
CASES: Final = ("lidc_chest", "chaos1", "hcc006_p3", "hcc011_p3", "crlm1006", "panc001", "tcgaov", "torso3mm_slab")
FP32: Final = ("--no-skip", "--precision", "fp32")
WAYS: Final[Mapping[str, Sequence[str]]] = {
    "fp32, torch, every window": (*FP32, "--backend", "torch"),
    "fp32, OpenVINO, every window": (*FP32, "--backend", "openvino"),
    "bf16, torch": ("--backend", "torch"),
    "bf16, OpenVINO: the default with extra cpu": (),
}
STAGE_SECONDS = {
    "read": 0.0,
    "image to the model's grid": 0.0,
    "network": 0.0,
    "blend": 0.0,
    "skip": 0.0,
    "decode": 0.0,
    "write": 0.0,
}
WINDOWS = [0]

SPLINE: Final = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one process took.

    Attributes:
        seconds: from its start to its end.
        peak_mb: largest resident memory, by the kernel.
        stages: seconds of each stage, in order.
        windows: windows that the network ran.
    """

    seconds: float
    peak_mb: float
    stages: Mapping[str, float]
    windows: int


def main(peer: str, data: Path, report: Path, depths: list[int]) -> None:
    """Compare labels, then seconds and memory, and write the report after each scan."""
    lines = [
        "# Against nnU-Net's own predictor",
        "",
        f"{dated('versus_nnunet.py', 'openvino')} The peer: {_peer_version(peer)}.",
    ]
    report.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for section in (_labels(peer, data, Path(scratch)), _costs(peer, data, Path(scratch), depths)):
            for more in section:
                lines += more
                print("\n".join(more), flush=True)
                report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _labels(peer: str, data: Path, scratch: Path) -> Iterator[list[str]]:
    """Agreement of labels, a row for each CT."""
    from benchmarks.islands import keeping_islands

    spec, whole = read_model_file(SHIPPED).spec, keeping_islands(SHIPPED, scratch / "whole")
    folders = {name: scratch / name for name in ("linear", "spline")}
    for name, folder in folders.items():
        export_nnunet(SHIPPED, folder)
        if name == "spline":
            _resample_by_default(folder)
        import_nnunet(folder, scratch / f"imported {name}", ImportOptions(window_step=spec.window_step))
    yield [
        "",
        "## Labels: `weights/lite` in float32, every window run",
        "",
        made_with(SHIPPED),
        "",
        "Exported to nnU-Net and imported again, so that both sides pad alike. Linear: the plan says that images and "
        "logits are interpolated linearly, as our models are. Spline: nnU-Net's default, order 3 for images. Ours "
        "against stock: `weights/lite` itself, islands kept, against the predictor with its default. nnU-Net sums "
        "logits in half precision; in the columns *float32* it was made to sum in single precision. Each cell: share "
        "of equal voxels; least DSC of a class that either side found, its name and how many voxels it has.",
        "",
        "| CT | windows, ours / theirs | linear | linear, float32 | spline | spline, float32 | ours against stock |",
        "|:---|---:|:---|:---|:---|:---|:---|",
    ]
    for name in CASES:
        ct = scratch / f"{name}_0000.nii.gz"
        image = sitk.ReadImage(str(data / "ct" / f"{name}_0000.nii.gz"))
        sitk.WriteImage(sitk.DICOMOrient(image, "LPS"), str(ct))
        row = f"| {name} "
        for kind, folder in folders.items():
            ours = _ours(ct, scratch / "ours", scratch / f"imported {kind}", FP32)
            for sums in ("half", "float32"):
                theirs = _theirs(peer, folder, ct, scratch / sums, spec.window_step, sums)
                row += f"| {ours.windows} / {theirs.windows} " if (kind, sums) == ("linear", "half") else ""
                row += _agreement(scratch / "ours" / f"{name}.nii.gz", scratch / sums / f"{name}.nii.gz")
        _ours(ct, scratch / "ours", whole, FP32)
        yield [row + _agreement(scratch / "ours" / f"{name}.nii.gz", scratch / "half" / f"{name}.nii.gz") + "|"]


def _costs(peer: str, data: Path, scratch: Path, depths: list[int]) -> Iterator[list[str]]:
    """Seconds, stage by stage, and memory, a table for each shape."""
    from benchmarks.volumes import make_volume
    from train.recipes.recipe import coarse

    weights, folder = scratch / "coarse", scratch / "coarse_nnunet"
    spec = coarse().spec
    torch.manual_seed(0)
    save_model(weights, spec, UNet(spec.network, spec.classes))
    export_nnunet(weights, folder)
    _resample_by_default(folder)
    for depth in depths:
        ct = scratch / f"{depth:04}_0000.nii.gz"
        make_volume(data / "ct" / f"{SOURCE}_0000.nii.gz", depth, ct)
        sides = {name: _ours(ct, scratch / "ours", weights, options) for name, options in WAYS.items()}
        sides = {"nnU-Net": _theirs(peer, folder, ct, scratch / "theirs", spec.window_step)} | sides
        yield ["", f"## Seconds and memory: 512 x 512 x {depth}, the coarse network with random weights", ""]
        yield _cost_table(sides)
    if not depths:
        return
    yield [
        "",
        "Random weights paint labels that change from voxel to voxel: more than half of the cells have to be "
        "interpolated, where organs leave 1 to 3 %. So that the other stages can be judged: ours on the last of these "
        "shapes with the trained weights of `weights/lite`, on the coarse network's grid and with its windows.",
        "",
    ]
    trained = _trained_on_the_coarse_grid(scratch / "trained")
    yield _cost_table({name: _ours(ct, scratch / "ours", trained, options) for name, options in WAYS.items()})


def _trained_on_the_coarse_grid(folder: Path) -> Path:
    """Weights whose labels are as smooth as organs; they are no good at this spacing, and need not be."""
    from train.recipes.recipe import coarse

    spec, networks = load_networks(SHIPPED, torch.device("cpu"))
    save_model(folder, replace(spec, spacing_mm=coarse().spec.spacing_mm, patch=coarse().spec.patch), *networks)
    return folder


def _cost_table(sides: Mapping[str, Side]) -> list[str]:
    rest = {
        name: sum(value for stage, value in side.stages.items() if stage != "network") for name, side in sides.items()
    }
    rows: dict[str, list[str]] = {"windows": [str(side.windows) for side in sides.values()]}
    for stage in dict.fromkeys(stage for side in sides.values() for stage in side.stages):
        rows[stage] = [f"{side.stages[stage]:.2f}" if stage in side.stages else "-" for side in sides.values()]
    rows["all stages but the network"] = [f"{rest[name]:.2f}" for name in sides]
    rows["whole process (s)"] = [f"{side.seconds:.1f}" for side in sides.values()]
    if peer := sides.get("nnU-Net"):
        rows["**times faster**"] = [f"**{peer.seconds / side.seconds:.2f}**" for side in sides.values()]
    rows["peak memory (MB)"] = [f"{side.peak_mb:.0f}" for side in sides.values()]
    return [
        f"| | {' | '.join(sides)} |",
        f"|:---|{'---:|' * len(sides)}",
        *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()),
    ]


def _agreement(one: Path, other: Path) -> str:
    """Share of equal voxels, and the least DSC of a class with its name and size, as a cell."""
    ours, theirs = read_volume(one).array_zyx, read_volume(other).array_zyx
    names = read_model_file(SHIPPED).spec.labels
    codes = sorted({int(code) for code in (*np.unique(ours), *np.unique(theirs)) if code})
    dice = [(dice_of_masks(ours == code, theirs == code), code) for code in codes]
    least, code = min(dice, default=(1.0, 0))
    return f"| {(ours == theirs).mean():.6f}; {least:.4f} {names[code]}, {np.count_nonzero(theirs == code)} "


def _resample_by_default(folder: Path) -> None:
    """Turn an exported plan to the resampling that nnU-Net chooses by itself."""
    path = folder / "plans.json"
    plans = json.loads(path.read_text(encoding="utf-8"))
    for configuration in plans["configurations"].values():
        for what, order in (("data", 3), ("probabilities", 1)):
            configuration[f"resampling_fn_{what}"] = "resample_data_or_seg_to_shape"
            configuration[f"resampling_fn_{what}_kwargs"] = SPLINE | {"order": order}
    path.write_text(json.dumps(plans), encoding="utf-8")


def _theirs(peer: str, folder: Path, ct: Path, outputs: Path, step: float, sums: str = "half") -> Side:
    script = str(Path(__file__).with_name("nnunet_peer.py"))
    return _started([peer, script, "segment", str(folder), str(ct), str(outputs), str(step), sums])


def _ours(ct: Path, outputs: Path, weights: Path, options: Sequence[str]) -> Side:
    arguments = ["predict", str(ct), str(outputs), "--weights", str(weights), "--device", "cpu", "--again"]
    arguments += options
    return _started([sys.executable, "-m", "benchmarks.versus_nnunet", *arguments])


def _started(command: list[str]) -> Side:
    """Run a command that prints its stages and windows as JSON on its last line."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        printed = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with exit code {process.returncode}")
    said: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return Side(seconds=time.perf_counter() - started, peak_mb=usage.ru_maxrss / 1024, **said)


def _peer_version(peer: str) -> str:
    code = "import importlib.metadata as m; print('nnunetv2', m.version('nnunetv2'), 'with torch', m.version('torch'))"
    return subprocess.run([peer, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with its seconds added to a stage."""

    def run(*positional: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*positional, **named)
        finally:
            STAGE_SECONDS[stage] += time.perf_counter() - started

    return run


def counted(make_runner: Callable[..., Any]) -> Callable[..., Any]:
    """A maker of runners whose windows are counted and timed."""

    def make(*positional: Any, **named: Any) -> Any:
        run = timed("network", make_runner(*positional, **named))

        def counting(batch_nczyx: Any) -> Any:
            WINDOWS[0] += len(batch_nczyx)
            return run(batch_nczyx)

        return counting

    return make


def predict_with_a_clock() -> None:
    """`flare-infer` as it is, with a clock at each stage: prints what they took as JSON on its last line.

    For one case: stages of several cases would run beside each other.
    """
    from flare_infer.commands.app import app
    from flare_infer.runs import case_steps
    from flare_infer.segment import segmenter, sliding

    case_steps.read_scan = timed("read", case_steps.read_scan)
    case_steps.write_volume = timed("write", case_steps.write_volume)
    segmenter.preprocess = timed("image to the model's grid", segmenter.preprocess)
    segmenter.make_runner = counted(segmenter.make_runner)
    segmenter.Decoder.take = timed("decode", segmenter.Decoder.take)
    ring = sliding._Ring
    ring.blend, ring.drop = timed("blend", ring.blend), timed("blend", ring.drop)
    sliding.holds_only_air = timed("skip", sliding.holds_only_air)
    sliding.foreground_voxels = timed("skip", sliding.foreground_voxels)
    try:
        app()
    except SystemExit as ended:
        if ended.code:
            raise
    print(json.dumps({"stages": STAGE_SECONDS, "windows": WINDOWS[0]}))


if __name__ == "__main__":
    # Imports of the comparison alone stand inside its functions: they would count as time and memory of our side.
    if sys.argv[1] == "predict":
        predict_with_a_clock()
    else:
        main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), [int(text) for text in sys.argv[4:]])
