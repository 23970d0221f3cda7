"""Networks, exported models and image resampling against nnU-Net itself.

Usage: python -m benchmarks.same_as_nnunet PEER_PYTHON DATA REPORT

PEER_PYTHON is the Python of an environment with nnunetv2; DATA holds ct/NAME_0000.nii.gz. The peer's side is in
`nnunet_peer.py`. Stops with an error if a logit differs by more than 1e-4 or a resampled value by more than 1e-5.
"""

import datetime
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.machine import made_with
from flare_infer.backends.cores import cores_of_job
from flare_infer.formats.volume_io import read_volume
from flare_infer.geometry import Shape, Spacing, resampled_shape
from flare_infer.model.ensemble import as_one
from flare_infer.model.model_file import read_model_file
from flare_infer.model.spec import Interpolation, Normalization
from flare_infer.model.weights import find_weights, load_networks
from flare_infer.nnunet.exporting import export_nnunet
from flare_infer.nnunet.importing import ImportOptions, import_nnunet
from flare_infer.segment.preprocess import normalize
from flare_infer.segment.spline import resample_spline, thick_axis

LOGITS_WITHIN, VALUES_WITHIN = 1e-4, 1e-5
WINDOW = Normalization(clip_low_hu=-968, clip_high_hu=312, mean_hu=87.5, std_hu=131.25)
CROP = (40, 120, 120)
SPACINGS_MM: tuple[Spacing, ...] = ((1.0, 1.0, 1.0), (2.5, 0.8, 0.8), (4.0, 4.0, 4.0), (6.0, 1.5, 1.5))


def main(peer: str, data: Path, report: Path) -> None:
    """Compare everything and write the report."""
    cts = sorted((data / "ct").glob("*_0000.nii.gz"))
    with tempfile.TemporaryDirectory() as scratch:
        networks = compare_models(peer, Path(scratch))
        networks.append(compare_shipped(peer, cts[0], Path(scratch)))
        splines = compare_splines(peer, cts, Path(scratch))
    version = run(peer, "-c", "import importlib.metadata as m; print('nnunetv2', m.version('nnunetv2'), end='')")
    lines = [
        "# Networks and resampling against nnU-Net itself\n",
        f"{datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}, {platform.machine()}, {cores_of_job()} CPU cores, "
        f"{version}, torch {torch.__version__} in float32. Written by `benchmarks/same_as_nnunet.py`.\n",
        "## Logits of a patch\n",
        "The models have random weights and are built, trained for a step and saved by nnU-Net's trainer; all logits "
        "of the peer are its predictor's. The last column is nnU-Net's predictor with our export of the model.",
        f"{made_with(find_weights())}\n",
        "| model | logits up to | imported, largest difference | exported, largest difference |",
        "|---|---|---|---|",
        *networks,
        "\n## Resampling of images\n",
        f"{len(splines)} crops of {' x '.join(map(str, CROP))} voxels of real CTs, normalized (values from "
        f"{WINDOW.air:.1f} up), to other spacings, against `resample_data_or_seg_to_shape`.\n",
        "| order | crops | resampled plane by plane | largest difference |",
        "|---|---|---|---|",
    ]
    for order in sorted({order for order, _, _ in splines}):
        mine = [(separate, difference) for other, separate, difference in splines if other == order]
        planes = sum(separate for separate, _ in mine)
        lines.append(f"| {order} | {len(mine)} | {planes} | {max(difference for _, difference in mine):.1e} |")
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def compare_models(peer: str, scratch: Path) -> list[str]:
    """Models that the peer makes: as they are imported, and as it loads what is exported again."""
    run(peer, str(Path(__file__).with_name("nnunet_peer.py")), "make", str(scratch / "made"), "large")
    rows = []
    for dataset in sorted((scratch / "made").iterdir()):
        folds = tuple(path.name.removeprefix("fold_") for path in sorted(dataset.glob("*/fold_*")))
        target = scratch / "imported" / dataset.name
        spec = import_nnunet(dataset, target, ImportOptions(folds=folds)).spec
        with np.load(dataset / "truth.npz") as truth:
            batch, expected = truth["batch"], truth["logits"]
        imported = checked(dataset.name, logits_of(target, batch), expected, LOGITS_WITHIN)
        back = peer_logits(peer, target, batch, scratch)
        exported = checked(f"{dataset.name}, there and back", back, expected, LOGITS_WITHIN)
        what = f"{spec.network.block}, {len(folds)} fold(s), {2 ** len(spec.mirror_axes)} mirror image(s)"
        rows.append(f"| {dataset.name} ({what}) | {abs(expected).max():.1f} | {imported:.1e} | {exported:.1e} |")
    return rows


def compare_shipped(peer: str, ct: Path, scratch: Path) -> str:
    """The shipped weights, exported, on a patch from the middle of a real CT."""
    weights = find_weights()
    spec = read_model_file(weights).spec
    patch = middle(read_volume(ct).array_zyx, spec.patch)
    batch = normalize(torch.from_numpy(patch.astype(np.float32)), spec.normalization)[None, None].numpy()
    ours = logits_of(weights, batch)
    difference = checked("shipped weights", peer_logits(peer, weights, batch, scratch), ours, LOGITS_WITHIN)
    return f"| `weights/{weights.name}` on a patch of a real CT | {abs(ours).max():.1f} | - | {difference:.1e} |"


def compare_splines(peer: str, cts: list[Path], scratch: Path) -> list[tuple[int, bool, float]]:
    """(order, whether plane by plane, largest difference) of every crop at every spacing."""
    cases: dict[str, Any] = {}
    wanted = []
    for ct in cts:
        volume = read_volume(ct)
        crop = middle(volume.array_zyx, CROP)
        image = normalize(torch.from_numpy(crop.astype(np.float32)), WINDOW).numpy()
        old_mm = volume.placement.spacing_mm
        for new_mm in SPACINGS_MM:
            for order in (1, 3):
                index = len(wanted)
                shape = resampled_shape(image.shape, old_mm, new_mm)
                cases |= {f"image_{index}": image, f"shape_{index}": shape, f"old_{index}": old_mm}
                cases |= {f"new_{index}": new_mm, f"order_{index}": order}
                interpolation = Interpolation(order=order, order_across=0)
                found = resample_spline(image, shape, old_mm, new_mm, interpolation)
                wanted.append((order, thick_axis(old_mm, new_mm) is not None, found, f"{ct.name} to {new_mm}"))
    np.savez(scratch / "cases.npz", **cases)
    run(peer, str(Path(__file__).with_name("nnunet_peer.py")), "resample", *pair(scratch, "cases.npz", "resampled.npz"))
    with np.load(scratch / "resampled.npz") as results:
        return [
            (order, separate, checked(name, found, results[f"result_{index}"], VALUES_WITHIN))
            for index, (order, separate, found, name) in enumerate(wanted)
        ]


def logits_of(weights: Path, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What our network says."""
    spec, networks = load_networks(weights, torch.device("cpu"))
    network = as_one(networks, spec.mirror_axes)
    with torch.inference_mode():
        logits: npt.NDArray[np.float32] = network(torch.from_numpy(batch)).numpy()
    return logits


def peer_logits(peer: str, weights: Path, batch: npt.NDArray[np.float32], scratch: Path) -> npt.NDArray[np.float32]:
    """What nnU-Net's predictor says of a batch after loading our export of a weights directory."""
    with tempfile.TemporaryDirectory(dir=scratch) as place:
        made = export_nnunet(weights, Path(place) / "exported")
        np.savez(Path(place) / "in.npz", batch=batch)
        script = str(Path(__file__).with_name("nnunet_peer.py"))
        run(peer, script, "logits", str(made.folder), *pair(Path(place), "in.npz", "out.npz"), *map(str, made.folds))
        with np.load(Path(place) / "out.npz") as results:
            logits: npt.NDArray[np.float32] = results["logits"]
    return logits


def checked(name: str, found: npt.NDArray[Any], expected: npt.NDArray[Any], within: float) -> float:
    """The largest difference, which must be small."""
    if found.shape != expected.shape:
        raise SystemExit(f"{name}: shape {found.shape}, expected {expected.shape}")
    difference = float(np.abs(found.astype(np.float64) - expected).max())
    print(f"{name}: {difference:.1e}", flush=True)
    if not difference <= within:
        raise SystemExit(f"{name}: differs by {difference}")
    return difference


def middle(array_zyx: npt.NDArray[Any], shape: Shape) -> npt.NDArray[Any]:
    """The middle of an array, of at most that shape."""
    starts = [max(0, (length - size) // 2) for length, size in zip(array_zyx.shape, shape, strict=True)]
    return array_zyx[tuple(slice(start, start + size) for start, size in zip(starts, shape, strict=True))]


def pair(folder: Path, source: str, target: str) -> tuple[str, str]:
    """Two files of a folder, as arguments."""
    return str(folder / source), str(folder / target)


def run(peer: str, *arguments: str) -> str:
    """Standard output of the peer's Python; its error output goes to ours if it fails."""
    done = subprocess.run([peer, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return done.stdout


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
