"""The cases that a run learns from, by names and hashes: a resumed run must use the same, and an export names them.

A run that is continued with other cases on purpose records both: one `TrainingSources` each, in order of time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from flare_infer.errors import DatasetError
from flare_infer.files.record import plain_fields, record_from_fields
from flare_infer.label_set import FLARE23, LabelSet
from train.differences import some_of
from train.fit.checkpoint import load_checkpoint, refuse_changed_recipe, save_checkpoint
from train.fit.matching_store import CHECKED_FILE
from train.recipes.recipe import TrainingRecipe
from train.record.score import Standing
from train.store.sealed import sealed_sha256
from train.store.store import CASE_FILE, PreparedCase, read_names, read_store
from train.store.tumor_objects import object_hashes

OPTION: Final = "--changed-cases"


@dataclass(frozen=True, kw_only=True)
class TrainingSources:
    """The cases that a run learns from, from some step on.

    Attributes:
        since: number of steps done before the run used them.
        training: hash of the prepared voxels of each training case, by name.
        annotated: codes that each training case annotates, by name.
        unlabeled: names of the training cases with pseudo labels only.
        validation: hash of each validation case, by name.
        objects: hash of the tumor objects cut out of each case, by name of the case.
    """

    since: int = 0
    training: Mapping[str, str]
    annotated: Mapping[str, tuple[int, ...]]
    unlabeled: tuple[str, ...] = ()
    validation: Mapping[str, str] = field(default_factory=dict)
    objects: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, store: Path, cases: Sequence[PreparedCase], objects: Path | None = None) -> Self:
        """The sources that consist of some cases of a store and the tumor objects of a folder."""
        return cls(
            training={case.name: _hash_of(store, case.name) for case in cases},
            annotated={case.name: tuple(case.annotated) for case in cases},
            unlabeled=tuple(case.name for case in cases if case.unlabeled),
            validation={name: _hash_of(store, name) for name in read_names(store, "validation")},
            objects={} if objects is None else object_hashes(objects),
        )

    def differences(self, now: "TrainingSources", *, with_objects: bool = True) -> list[str]:
        """A phrase for every difference between these sources and `now`."""
        phrases = [f"{name} trained and validates now" for name in self.training if name in now.validation]
        phrases += [f"{name} validated and trains now" for name in self.validation if name in now.training]
        moved = (self.training.keys() & now.validation.keys()) | (self.validation.keys() & now.training.keys())
        for verb, old, new in (
            ("trained", self.training, now.training),
            ("validated", self.validation, now.validation),
        ):
            phrases += [f"{name} {verb} and is gone" for name in old if name not in new and name not in moved]
            phrases += [f"{name} is new" for name in new if name not in old and name not in moved]
            phrases += [f"{name} has other voxels" for name in old if name in new and old[name] != new[name]]
        phrases += [
            f"{name} annotates other classes"
            for name, codes in self.annotated.items()
            if now.annotated.get(name, codes) != codes
        ]
        if with_objects and self.objects != now.objects:
            names = sorted(self.objects.keys() | now.objects.keys())
            other = [name for name in names if self.objects.get(name) != now.objects.get(name)]
            phrases.append(f"other tumor objects of {', '.join(other[:3])}{', ...' if len(other) > 3 else ''}")
        return phrases


def continued_sources(
    run: Path, step: int, known: Sequence[TrainingSources], now: TrainingSources
) -> tuple[TrainingSources, ...]:
    """All sources of a run that continues with `now`.

    Args:
        run: folder of the run.
        step: number of steps done.
        known: sources in its checkpoint; empty at the first step, or in a checkpoint of an earlier version.
        now: sources that the run would continue with.

    Returns:
        the sources in order of time.

    Raises:
        DatasetError: if `now` differs from the last known sources.
    """
    if step == 0 or not known:
        return (replace(now, since=step),)
    differing = known[-1].differences(now)
    if differing:
        raise DatasetError(
            f"{run}: learned from other cases than these ({some_of(differing)}); name the store and the objects it "
            f"began with, take another run folder, or go on with {OPTION}, which the model card will say"
        )
    return tuple(known)


def record_changed_cases(run: Path, recipe: TrainingRecipe, store: Path, objects: Path | None) -> None:
    """Record in a run's checkpoint that it continues with other cases, if they differ.

    If the validation cases differ, earlier scores cannot be compared with later ones, so the search for the best
    network begins anew.

    Args:
        run: folder of the run.
        recipe: recipe of the run.
        store: folder of the prepared cases that it continues with.
        objects: folder of the tumor objects that it continues with; None for none.

    Raises:
        DatasetError: if the checkpoint is damaged or of another recipe, or the store is damaged.
    """
    checkpoint = load_checkpoint(run)
    if checkpoint is None or checkpoint.step == 0:
        return
    refuse_changed_recipe(run, checkpoint, recipe)
    cases = read_store(store, with_unlabeled=recipe.unlabeled, remembered=run / CHECKED_FILE)
    now = TrainingSources.of(store, cases, objects)
    known = [record_from_fields(TrainingSources, fields) for fields in checkpoint.sources]
    if known and not known[-1].differences(now):
        return
    standing = checkpoint.standing
    if known and known[-1].validation != now.validation:
        standing = plain_fields(Standing(step=Standing(**standing).step))
    sources = [*checkpoint.sources, plain_fields(replace(now, since=checkpoint.step))]
    save_checkpoint(run, replace(checkpoint, sources=sources, standing=standing))


def annotated_sets(known: Sequence[TrainingSources]) -> list[tuple[int, ...]]:
    """The codes annotated by each case that a run learned from, over all its sources."""
    return list(_union(known).values())


def _union(known: Sequence[TrainingSources]) -> dict[str, tuple[int, ...]]:
    cases: dict[str, set[int]] = {}
    for sources in known:
        for name, codes in sources.annotated.items():
            cases.setdefault(name, set()).update(codes)
    return {name: tuple(sorted(codes)) for name, codes in sorted(cases.items())}


def provenance(known: Sequence[TrainingSources], label_set: LabelSet = FLARE23) -> dict[str, Any]:
    """The fields of model.json about the cases that a run learned from.

    `cases` and `unlabeled_cases` are names, `annotated_cases` counts cases by code. The others are left out if empty:
    `object_cases` are cases of which only tumor objects were used, `cases_changed_at` the steps at which the cases
    changed, `trained_and_validated` the cases used for both, and `not_recorded_before` the first step of a run of an
    earlier version at which its cases were recorded.
    """
    cases = _union(known)
    pasted = sorted({name for sources in known for name in sources.objects} - cases.keys())
    leaked = sorted({name for sources in known for name in sources.validation} & cases.keys())
    changed = [sources.since for sources in known[1:]]
    unknown = known[0].since if known else 0
    extra: dict[str, Any] = {
        "not_recorded_before": unknown,
        "object_cases": pasted,
        "cases_changed_at": changed,
        "trained_and_validated": leaked,
    }
    return {
        "cases": list(cases),
        "unlabeled_cases": sorted({name for sources in known for name in sources.unlabeled}),
        "annotated_cases": {str(code): sum(code in codes for codes in cases.values()) for code in label_set.codes},
        **{name: value for name, value in extra.items() if value},
    }


def refuse_other_store(run: Path, store: Path, known: Sequence[TrainingSources], cases: Sequence[PreparedCase]) -> None:
    """Refuse a store that a run did not learn from; checkpoints of earlier versions, without sources, are accepted.

    Raises:
        DatasetError: naming what differs.
    """
    if not known:
        return
    differing = known[-1].differences(TrainingSources.of(store, cases), with_objects=False)
    if differing:
        raise DatasetError(f"{store}: not what {run} learned from ({some_of(differing)}); name the store of the run")


def _hash_of(store: Path, name: str) -> str:
    # Without case.json, which holds the times at which the dataset's files were modified.
    return sealed_sha256(store / name, without=CASE_FILE)
