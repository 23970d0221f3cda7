"""A folder of predictions against a folder of references, case by case, several at a time."""

import math
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from flare_eval.accuracy.classes import CHALLENGE, ScoredClasses
from flare_eval.accuracy.confidences import with_confidences
from flare_eval.accuracy.lesions import CaseLesions, compare_lesions, missed_lesions
from flare_eval.accuracy.mode import Mode
from flare_eval.accuracy.pairing import PredictionPair, find_annotations, pair_folders
from flare_eval.accuracy.protocol import BOTH_EMPTY, MISSING, ClassScore, score_class
from flare_eval.accuracy.scores import CaseScores, FolderScores
from flare_eval.label_maps.boxes import joint_boxes
from flare_eval.label_maps.label_map import TrimmedLabelMap, on_joint_box, read_trimmed, without_ignored
from flare_infer.errors import FlareError, ImageError, UsageError
from flare_infer.results.organ_volumes import volumes_ml
from flare_infer.volume.volume import same_placement

_Outcome: TypeAlias = CaseScores | str
"""The scores of a case, or one line that says why there are none."""


def score_folder(
    predictions: Path,
    references: Path,
    *,
    annotated: Path | None = None,
    mode: Mode = Mode.FIXED,
    classes: ScoredClasses = CHALLENGE,
    jobs: int = 1,
    track: Callable[[Sequence[PredictionPair]], Iterable[PredictionPair]] = iter,
) -> FolderScores:
    """Score every reference that can be compared; a case that cannot is recorded and the others go on.

    Args:
        predictions: folder of predicted label maps, matched by case name.
        references: folder of reference label maps, `CASE.nii.gz` or `CASE_labels.nii.gz`.
        annotated: file of the annotated classes; None takes `annotated.json` among the references, and without that
            file every class counts in every case. Official mode knows no such file: every class counts.
        mode: rules of scoring.
        classes: the classes of the references; in official mode the challenge's, and none of them untrained.
        jobs: how many cores to use: cases are scored in that many processes, and no more of them are in memory at
            once; a single case is scored in this process, its classes in that many threads.
        track: hands on the pairs one by one, and may show a progress bar meanwhile.

    Raises:
        UsageError: if a folder is missing, has no image, or two files of one case, or no case is in both; if
            a class that is left out is none of these; in official mode, if a prediction is missing or
            cannot be scored, or if classes are to be left out.
        DatasetError: if the file of annotated classes is broken or does not cover a reference.
    """
    untrained = classes.untrained
    _refuse_impossible(classes, mode, annotated)
    classes = CHALLENGE if mode is Mode.OFFICIAL else classes
    annotations = None if mode is Mode.OFFICIAL else find_annotations(references, annotated, classes)
    found = pair_folders(predictions, references, annotations, classes)
    if mode is Mode.OFFICIAL:
        _refuse_incomplete(predictions, found.missing)
    cases: list[CaseScores] = []
    failed: dict[str, str] = {}
    for pair, outcome in zip(track(found.pairs), _outcomes(found.pairs, untrained, mode, jobs), strict=True):
        if isinstance(outcome, str):
            failed[pair.case] = outcome
        else:
            cases.append(outcome)
    if mode is Mode.OFFICIAL:
        _refuse_incomplete(predictions, [f"{case.case} ({case.damaged})" for case in cases if case.missing])
    return FolderScores(
        predictions=predictions,
        references=references,
        annotated_from=found.annotated_from,
        untrained=untrained,
        cases=tuple(cases),
        failed=failed,
        unmatched=found.unmatched,
        mode=mode,
        classes=classes,
    )


def _refuse_impossible(classes: ScoredClasses, mode: Mode, annotated: Path | None) -> None:
    """Make sure that classes can be left out, and that the rules know the classes."""
    codes, untrained = classes.label_set.codes, classes.untrained
    if not set(untrained) <= set(codes):
        raise UsageError(f"expected untrained classes within {codes[0]}..{codes[-1]}, found {untrained}")
    if mode is Mode.OFFICIAL and not classes.label_set.is_challenge:
        raise UsageError("official mode scores the challenge's classes, and these are others; take --mode fixed")
    if mode is Mode.OFFICIAL and (untrained or annotated is not None):
        raise UsageError("official mode scores every class of every case; leave classes out in fixed mode")


def score_case(
    pair: PredictionPair, untrained: tuple[int, ...] = (), mode: Mode = Mode.FIXED, threads: int = 1
) -> CaseScores:
    """Score the annotated classes of one case, without the `untrained`.

    A missing prediction scores 0 in each class, and so does one that is unusable, or differs from the reference in
    shape or, in fixed mode, in its place: it must not score better than none. All its lesions are missed then.

    Raises:
        ImageError: if the reference is unusable.
    """
    scored = tuple(code for code in pair.annotated if code not in untrained)
    left_out = tuple(code for code in pair.annotated if code in untrained)
    zeros = dict.fromkeys(scored, MISSING.dsc)
    missing = CaseScores(case=pair.case, dsc=zeros, nsd=zeros, untrained=left_out, missing=True)
    classes = pair.classes
    lesions_scored = tuple(code for code in classes.label_set.lesion_codes if code in scored)
    if pair.prediction is None:
        return replace(missing, lesions=_missed_lesions(pair, lesions_scored)) if lesions_scored else missing
    reference = read_trimmed(pair.reference, classes.label_set, classes.ignored)
    try:
        prediction = _read_on_grid(pair.prediction, pair, reference, mode)
    except ImageError as error:
        lesions = missed_lesions(reference, lesions_scored) if lesions_scored else None
        return replace(missing, damaged=str(error), lesions=lesions)
    if classes.ignored is not None:
        prediction, reference = without_ignored(prediction, reference)
    results = _score_classes(prediction, reference, scored, mode, threads, classes)
    volumes = volumes_ml(reference.array_zyx, reference.placement.spacing_mm, classes.label_set.codes)
    compared = compare_lesions(prediction, reference, lesions_scored)
    return CaseScores(
        case=pair.case,
        dsc={code: result.dsc for code, result in results.items()},
        nsd={code: result.nsd for code, result in results.items()},
        untrained=left_out,
        reference_ml={code: volumes[code] for code in scored},
        lesions=with_confidences(compared, pair.prediction) if lesions_scored else None,
    )


def _missed_lesions(pair: PredictionPair, codes: Sequence[int]) -> CaseLesions | None:
    """The lesions of a reference without a prediction; None if it cannot be read, which changes no score of classes."""
    try:
        return missed_lesions(read_trimmed(pair.reference, pair.classes.label_set, pair.classes.ignored), codes)
    except ImageError:
        return None


def _read_on_grid(path: Path, pair: PredictionPair, reference: TrimmedLabelMap, mode: Mode) -> TrimmedLabelMap:
    """Read a prediction.

    Raises:
        ImageError: if it is unusable, or does not lie on the grid of the reference.
    """
    prediction = read_trimmed(path, pair.classes.label_set)
    moved = mode is Mode.FIXED and not same_placement(prediction.placement, reference.placement)
    if prediction.shape != reference.shape or moved:
        raise ImageError(
            f"{path} ({_grid(prediction)}) does not lie on the grid of {pair.reference} ({_grid(reference)})"
        )
    return prediction


def _refuse_incomplete(predictions: Path, lacking: Sequence[str]) -> None:
    if lacking:
        raise UsageError(f"{predictions}: no prediction for {', '.join(lacking)}; official mode needs all of them")


def _score_classes(
    prediction: TrimmedLabelMap,
    reference: TrimmedLabelMap,
    scored: tuple[int, ...],
    mode: Mode,
    threads: int,
    classes: ScoredClasses,
) -> dict[int, ClassScore]:
    """The scores of the classes in the order asked for, each within its own box."""
    prediction_zyx, reference_zyx = on_joint_box(prediction, reference)
    boxes = joint_boxes(prediction_zyx, reference_zyx, classes.label_set.codes)

    def score(code: int) -> ClassScore:
        if code not in boxes:
            return BOTH_EMPTY
        box = boxes[code]
        return score_class(prediction_zyx[box], reference_zyx[box], code, reference.placement.spacing_mm, mode, classes)

    # The largest first, so that no thread is left alone with it at the end.
    voxels = {code: math.prod(box.shape) for code, box in boxes.items()}
    order = sorted(scored, key=lambda code: -voxels.get(code, 0))
    with ThreadPoolExecutor(max_workers=threads) as pool:
        results = dict(zip(order, pool.map(score, order), strict=True))
    return {code: results[code] for code in scored}


def _outcomes(pairs: Sequence[PredictionPair], untrained: tuple[int, ...], mode: Mode, jobs: int) -> Iterator[_Outcome]:
    """The outcome of each pair, in order."""
    if jobs <= 1 or len(pairs) == 1:
        yield from (_outcome(pair, untrained, mode, max(1, jobs)) for pair in pairs)
        return
    workers = min(jobs, len(pairs))
    threads = max(1, jobs // workers)
    with _new_pool(workers) as pool:
        futures = [pool.submit(_outcome, pair, untrained, mode, threads) for pair in pairs]
        for pair, future in zip(pairs, futures, strict=True):
            try:
                yield future.result()
            except BrokenProcessPool:
                yield _outcome_alone(pair, untrained, mode, threads)


def _outcome_alone(pair: PredictionPair, untrained: tuple[int, ...], mode: Mode, threads: int) -> _Outcome:
    """Score a case again, alone: a process that dies ends its whole pool, so this case need not be the cause."""
    with _new_pool(1) as pool:
        try:
            return pool.submit(_outcome, pair, untrained, mode, threads).result()
        except BrokenProcessPool:
            return f"{pair.prediction}: the process that scored it was killed (out of memory?); use fewer jobs"


def _outcome(pair: PredictionPair, untrained: tuple[int, ...], mode: Mode, threads: int) -> _Outcome:
    try:
        return score_case(pair, untrained, mode, threads)
    except FlareError as error:
        return str(error)
    except MemoryError:
        return f"{pair.prediction}: not enough memory to score it; use fewer jobs"


def _new_pool(workers: int) -> ProcessPoolExecutor:
    # "spawn": a forked copy of a process that runs threads may hang.
    return ProcessPoolExecutor(max_workers=workers, mp_context=multiprocessing.get_context("spawn"))


def _grid(label_map: TrimmedLabelMap) -> str:
    """A grid in words, with digits enough to see how two grids differ."""
    place = label_map.placement
    spacing = ", ".join(f"{value:.6g}" for value in place.spacing_mm)
    origin = ", ".join(f"{value:.6g}" for value in place.origin_mm)
    axes = "; ".join(" ".join(f"{value:.6g}" for value in axis) for axis in place.axes)
    return f"shape {label_map.shape}, spacing ({spacing}) mm, origin ({origin}) mm, axes [{axes}]"
