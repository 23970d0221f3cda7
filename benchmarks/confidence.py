"""Whether a network's own probabilities tell good outlines from bad ones, on patients that it never saw.

Usage: python -m benchmarks.confidence DATA WEIGHTS REPORT

DATA holds ct/NAME_0000.nii.gz, ct/NAME_labels.nii.gz and ct/annotated.json. The cases that model.json does not name as
training cases are segmented; several definitions of confidence are compared, each fitted and judged with whole
patients left out. One case of DATA is one patient among those that lite did not see.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from scipy.stats import spearmanr
from torch import Tensor

from benchmarks.machine import dated, made_with
from flare_eval.accuracy.dice import dice_of_masks
from flare_eval.label_maps.annotations import FILE_NAME, read_annotations
from flare_infer.formats.volume_io import read_volume
from flare_infer.labels import NAMES, TUMOR
from flare_infer.results.calibration import Calibration
from flare_infer.segment.segmenter import SegmentationCallbacks, Segmenter

GOOD: Final = 0.7
"""DSC from which an outline counts as good."""

CHOSEN: Final = "expected overlap"
THRESHOLDS: Final = (0.5, 0.6, 0.7)
LEAST_APART: Final = 0.05
"""Of two outlines of a class those whose DSC differ by less are not compared."""

Numbers = npt.NDArray[np.float64]


@dataclass
class Candidates:
    """Takes slabs of logits and sums up, for each channel, what several definitions of confidence are made of."""

    sums: dict[str, Numbers] = field(default_factory=dict)

    def take(self, slab_czyx: Tensor) -> None:
        """The next planes of logits (channels, dz, y, x)."""
        logits_cn = slab_czyx.flatten(1).float()
        channels = len(logits_cn)
        probabilities_cn = torch.softmax(logits_cn, dim=0)
        (first, second), winner = probabilities_cn.topk(2, dim=0).values, logits_cn.argmax(dim=0)
        entropy = -(probabilities_cn * probabilities_cn.clamp_min(1e-12).log()).sum(dim=0) / np.log(channels)
        inside = {"wins": torch.ones_like(first), "probability": first, "margin": first - second,
                  "sure": (first > 0.9).float(), "certainty": 1 - entropy}  # fmt: skip
        found = {name: np.bincount(winner, weights=value, minlength=channels) for name, value in inside.items()}
        found["everywhere"] = probabilities_cn.sum(dim=1, dtype=torch.float64).numpy()
        self.sums = {name: self.sums.get(name, 0) + value for name, value in found.items()}

    def of_channel(self, channel: int) -> dict[str, float]:
        """Each definition of confidence of one class."""
        of = {name: float(value[channel]) for name, value in self.sums.items()}
        of["wins"] = max(of["wins"], 1.0)
        return {
            "mean probability": of["probability"] / of["wins"],
            "mean margin": of["margin"] / of["wins"],
            "share above .9": of["sure"] / of["wins"],
            "1 - mean entropy": of["certainty"] / of["wins"],
            "overlap with all probabilities": 2 * of["probability"] / (of["wins"] + of["everywhere"]),
        }


@dataclass(frozen=True, kw_only=True)
class Organ:
    """One annotated class of one patient that the model found."""

    patient: str
    code: int
    dsc: float
    volume_ml: float
    scores: Mapping[str, float]


def main(data: Path, weights: Path, report: Path) -> None:
    """Segment the patients and write the report."""
    segmenter = Segmenter.load(weights)
    annotations = read_annotations(data / "ct" / FILE_NAME)
    trained = set(segmenter.spec.training.get("cases", ()))
    names = sorted(name for name in annotations.cases if name not in trained)
    organs: list[Organ] = []
    missed: list[str] = []
    for name in names:
        found, lost = organs_of(segmenter, data / "ct", name, annotations.codes_of(name))
        organs += found
        missed += lost
        print(name, len(found), flush=True)
    report.write_text(report_text(organs, missed, names, weights), encoding="utf-8")


def organs_of(segmenter: Segmenter, folder: Path, name: str, codes: list[int]) -> tuple[list[Organ], list[str]]:
    """What was found of a patient, with its DSC, and what was missed."""
    scan, reference = (read_volume(folder / f"{name}_{kind}.nii.gz") for kind in ("0000", "labels"))
    candidates = Candidates()
    asked = Segmenter(**{**vars(segmenter), "with_confidence": True})
    done = asked.segment(scan, SegmentationCallbacks(logits=candidates.take))
    labels_zyx, truth_zyx = done.labels.array_zyx, reference.array_zyx
    voxel_ml = float(np.prod(scan.placement.spacing_mm)) / 1000
    found, missed = [], []
    for code in codes:
        size = int(np.count_nonzero(labels_zyx == code))
        if size:
            scores = candidates.of_channel(segmenter.spec.predicted.index(code))
            scores[CHOSEN] = done.confidence.get(code, 0.0)
            dsc = dice_of_masks(labels_zyx == code, truth_zyx == code)
            found.append(Organ(patient=name, code=code, dsc=dsc, volume_ml=size * voxel_ml, scores=scores))
        elif (truth_zyx == code).any():
            missed.append(f"{NAMES[code]} of {name}")
    return found, missed


def fit(values: Numbers, dsc: Numbers) -> Calibration:
    """The calibration with the least squared error of the DSC."""

    def error(numbers: Numbers) -> float:
        offset, slope = numbers
        return float(np.mean((Calibration(offset=offset, slope=slope).many(values) - dsc) ** 2))

    best = min(
        (minimize(error, start, method="Nelder-Mead") for start in ((0.0, 1.0), (-5.0, 2.5))), key=lambda r: r.fun
    )
    return Calibration(offset=float(best.x[0]), slope=float(best.x[1]))


def left_out(organs: list[Organ], name: str) -> Numbers:
    """The calibrated confidence of every organ, by a calibration that was fitted without its patient."""
    predicted = np.zeros(len(organs))
    for patient in {organ.patient for organ in organs}:
        others = [organ for organ in organs if organ.patient != patient]
        calibration = fit(np.array([one.scores[name] for one in others]), np.array([one.dsc for one in others]))
        its = [index for index, organ in enumerate(organs) if organ.patient == patient]
        predicted[its] = calibration.many(np.array([organs[index].scores[name] for index in its]))
    return predicted


def class_means(organs: list[Organ]) -> Numbers:
    """What is known without any confidence: the mean DSC of the class in the other patients."""
    everything = np.mean([organ.dsc for organ in organs])
    means = []
    for organ in organs:
        same = [one.dsc for one in organs if one.code == organ.code and one.patient != organ.patient]
        means.append(np.mean(same) if same else everything)
    return np.array(means)


def auc(values: Numbers, good: npt.NDArray[np.bool_]) -> float:
    """Chance that a good outline has a greater value than a bad one."""
    above = values[good][:, None] - values[~good]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def same_class_pairs(organs: list[Organ], values: Numbers) -> tuple[int, int]:
    """Of pairs of outlines of one class in two patients: those that are ranked as their DSC, and all."""
    right = every = 0
    for one, organ in enumerate(organs):
        for two in range(one):
            other = organs[two]
            if other.code == organ.code and abs(organ.dsc - other.dsc) >= LEAST_APART:
                every += 1
                right += (organ.dsc - other.dsc) * (values[one] - values[two]) > 0
    return right, every


def interval(organs: list[Organ], values: Numbers) -> tuple[float, float]:
    """95 % interval of the AUC, patients drawn with replacement."""
    rng = np.random.default_rng(0)
    patients = sorted({organ.patient for organ in organs})
    found = []
    for _ in range(2000):
        drawn = [
            i for name in rng.choice(patients, len(patients)) for i, one in enumerate(organs) if one.patient == name
        ]
        good = np.array([organs[index].dsc >= GOOD for index in drawn])
        if good.any() and not good.all():
            found.append(auc(values[drawn], good))
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)


def comparison(organs: list[Organ]) -> list[str]:
    """A row for each definition, and for what needs no network."""
    dsc = np.array([organ.dsc for organ in organs])
    good = dsc >= GOOD
    lines = [
        "| definition | AUC | 95 % | Spearman | pairs of one class ranked right | error of DSC, calibrated |",
        "|:---|---:|:---:|---:|---:|---:|",
    ]
    names = list(organs[0].scores)
    values = {name: np.array([organ.scores[name] for organ in organs]) for name in names}
    values |= {"(volume alone)": np.array([organ.volume_ml for organ in organs]), "(class alone)": class_means(organs)}
    for name, found in values.items():
        low, high = interval(organs, found)
        right, every = same_class_pairs(organs, found)
        wrong = f"{np.abs(left_out(organs, name) - dsc).mean():.3f}" if name in names else ""
        wrong = f"{np.abs(found - dsc).mean():.3f}" if name == "(class alone)" else wrong
        marked = f"**{name}**" if name == CHOSEN else name
        rank = spearmanr(found, dsc).statistic
        pairs = "" if name == "(class alone)" else f"{right} of {every}"
        lines.append(f"| {marked} | {auc(found, good):.3f} | {low:.2f}-{high:.2f} | {rank:.3f} | {pairs} | {wrong} |")
    return lines


def by_class(organs: list[Organ], predicted: Numbers) -> list[str]:
    """A row for each class: every patient's DSC, the raw and the calibrated number."""
    lines = [
        "| class | patients | Spearman | DSC / calibrated (raw), the best outline first |",
        "|:---|---:|---:|:---|",
    ]
    for code in sorted({organ.code for organ in organs}):
        its = sorted((i for i, organ in enumerate(organs) if organ.code == code), key=lambda i: -organs[i].dsc)
        raw = [organs[index].scores[CHOSEN] for index in its]
        rank = f"{spearmanr(raw, [organs[i].dsc for i in its]).statistic:.2f}" if len(its) > 2 else ""
        cells = [f"{organs[i].dsc:.2f} / {predicted[i]:.2f} ({value:.3f})" for i, value in zip(its, raw, strict=True)]
        lines.append(f"| {NAMES[code]} | {len(its)} | {rank} | {', '.join(cells)} |")
    return lines


def thresholds(organs: list[Organ], predicted: Numbers) -> list[str]:
    """What a flag below a threshold would find, calibrated without the patient."""
    good = np.array([organ.dsc >= GOOD for organ in organs])
    lines = ["| flagged below | bad outlines flagged | good outlines flagged |", "|---:|---:|---:|"]
    for threshold in THRESHOLDS:
        low = predicted < threshold
        lines.append(
            f"| {threshold} | {int((low & ~good).sum())} of {int((~good).sum())} "
            f"| {int((low & good).sum())} of {int(good.sum())} |"
        )
    return lines


def report_text(organs: list[Organ], missed: list[str], names: list[str], weights: Path) -> str:
    """The whole report."""
    predicted = left_out(organs, CHOSEN)
    dsc = np.array([organ.dsc for organ in organs])
    every = fit(np.array([organ.scores[CHOSEN] for organ in organs]), dsc)
    right, pairs = same_class_pairs(organs, predicted)
    lines = [
        "# Confidence",
        "",
        dated("confidence.py", "scipy"),
        made_with(weights),
        "",
        f"{len(organs)} annotated classes that were found in {len(names)} patients that the weights never saw "
        f"({', '.join(names)}); {int((dsc >= GOOD).sum())} of them are good (DSC of at least {GOOD:g}). "
        f"Missed wholly, so without any confidence: {', '.join(missed) or 'none'}. "
        f"{'' if TUMOR in {one.code for one in organs} else 'Of the confidence of tumors nothing is known. '}"
        "Six patients are few; and where the DSC is 1.00 the reference was evidently made from this network's own "
        "outline, so the figures are kind. The definition was chosen on these patients.",
        "",
        "## Definitions",
        "",
        "AUC of good against bad outlines and rank correlation with the DSC, over all classes and patients; the "
        "interval draws patients anew. Pairs: two patients' outlines of one class whose DSC differ by "
        f"{LEAST_APART:g} or more. The error is the mean absolute difference between the calibrated number and the "
        "DSC, calibrated without the patient. The last two rows need no network: large organs are easier, and some "
        "classes are always good. The chosen number looks only at voxels where a class comes near background.",
        "",
        *comparison(organs),
        "",
        "## Each class, calibrated without the patient",
        "",
        *by_class(organs, predicted),
        "",
        f"Calibrated without the patient: AUC {auc(predicted, dsc >= GOOD):.3f}, Spearman "
        f"{spearmanr(predicted, dsc).statistic:.3f}, pairs of one class {right} of {pairs}.",
        "",
        "## A flag below a threshold",
        "",
        *thresholds(organs, predicted),
        "",
        "## The calibration that ships",
        "",
        "Fitted to all of these patients: expected DSC = s(offset + slope * log(c / (1 - c))) with the logistic "
        f"function s; offset {every.offset:.3f}, slope {every.slope:.3f}.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
