"""What a run learns from, by names and hashes: a run goes on with nothing else, and an export names nothing else.

A run that goes on with other cases on purpose keeps a record of both: a `TrainingSources` each, in order of time.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from flare_infer.errors import DatasetError
from flare_infer.labels import CODES
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
        since: steps done when they came.
        training: hash of the prepared voxels of each case that trains.
        annotated: codes that each of these annotates.
        unlabeled: names of those with pseudo labels only.
        validation: hash of each case that chooses the best network.
        objects: hash of the tumor objects of each case that they were cut out of.
    """

    since: int = 0
    training: Mapping[str, str]
    annotated: Mapping[str, tuple[int, ...]]
    unlabeled: tuple[str, ...] = ()
    validation: Mapping[str, str] = field(default_factory=dict)
    objects: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, store: Path, cases: Sequence[PreparedCase], objects: Path | None = None) -> Self:
        """What some cases of a store, and the tumor objects of a folder, are."""
        return cls(
            training={case.name: _hash_of(store, case.name) for case in cases},
            annotated={case.name: tuple(case.annotated) for case in cases},
            unlabeled=tuple(case.name for case in cases if case.unlabeled),
            validation={name: _hash_of(store, name) for name in read_names(store, "validation")},
            objects={} if objects is None else object_hashes(objects),
        )

    @classmethod
    def from_plain(cls, fields: Mapping[str, Any]) -> Self:
        """What `to_plain` gave."""
        annotated = {name: tuple(codes) for name, codes in fields["annotated"].items()}
        return cls(**{**fields, "annotated": annotated, "unlabeled": tuple(fields["unlabeled"])})

    def to_plain(self) -> dict[str, Any]:
        """Its fields, as a checkpoint keeps them."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def differences(self, now: "TrainingSources", *, with_objects: bool = True) -> list[str]:
        """A phrase for every case that is another one in `now`."""
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
    """What a run has learned from, now that it goes on with `now`.

    Args:
        run: its folder.
        step: steps done.
        known: what its checkpoint says; nothing at the first step, or in a checkpoint of an earlier version.
        now: what it would learn from.

    Raises:
        DatasetError: if that is something else.
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
    """Write into a run's checkpoint that from here on it learns from other cases, if they are others.

    Where other cases validate, scores from before say nothing about scores from now on: the best network is looked for
    anew.

    Args:
        run: folder of the run.
        recipe: what is trained.
        store: folder of the prepared cases that it learns from now.
        objects: folder of the tumor objects that it pastes now; None for none.

    Raises:
        DatasetError: if the checkpoint is damaged, or of another recipe, or the store is.
    """
    checkpoint = load_checkpoint(run)
    if checkpoint is None or checkpoint.step == 0:
        return
    refuse_changed_recipe(run, checkpoint, recipe)
    cases = read_store(store, with_unlabeled=recipe.unlabeled, remembered=run / CHECKED_FILE)
    now = TrainingSources.of(store, cases, objects)
    known = [TrainingSources.from_plain(fields) for fields in checkpoint.sources]
    if known and not known[-1].differences(now):
        return
    standing = checkpoint.standing
    if known and known[-1].validation != now.validation:
        standing = Standing(step=Standing(**standing).step).to_plain()
    sources = [*checkpoint.sources, replace(now, since=checkpoint.step).to_plain()]
    save_checkpoint(run, replace(checkpoint, sources=sources, standing=standing))


def annotated_sets(known: Sequence[TrainingSources]) -> list[tuple[int, ...]]:
    """What each case annotates that a run has learned from; a case that changed counts with all it ever annotated."""
    return list(_union(known).values())


def _union(known: Sequence[TrainingSources]) -> dict[str, tuple[int, ...]]:
    cases: dict[str, set[int]] = {}
    for sources in known:
        for name, codes in sources.annotated.items():
            cases.setdefault(name, set()).update(codes)
    return {name: tuple(sorted(codes)) for name, codes in sorted(cases.items())}


def provenance(known: Sequence[TrainingSources]) -> dict[str, Any]:
    """What model.json says of all cases that a run has learned from.

    `cases` and `unlabeled_cases` are names, `annotated_cases` counts cases by code. `object_cases` are those of which
    only tumor objects were learned; `cases_changed_at` are the steps at which other cases came, `trained_and_validated`
    cases of which both is so, and `not_recorded_before` is the step from which on a run of an earlier version is known.
    What is empty of these is left out.
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
        "annotated_cases": {str(code): sum(code in codes for codes in cases.values()) for code in CODES},
        **{name: value for name, value in extra.items() if value},
    }


def refuse_other_store(run: Path, store: Path, known: Sequence[TrainingSources], cases: Sequence[PreparedCase]) -> None:
    """Refuse a store that a run did not learn from; a checkpoint of an earlier version cannot tell.

    Raises:
        DatasetError: naming what differs.
    """
    if not known:
        return
    differing = known[-1].differences(TrainingSources.of(store, cases), with_objects=False)
    if differing:
        raise DatasetError(f"{store}: not what {run} learned from ({some_of(differing)}); name the store of the run")


def _hash_of(store: Path, name: str) -> str:
    # Not of case.json, which knows when the files of the dataset were last touched.
    return sealed_sha256(store / name, without=CASE_FILE)
