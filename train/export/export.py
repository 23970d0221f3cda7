"""Export of a run as a weights directory, and as a folder for nnU-Net."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flare_infer.errors import UsageError
from flare_infer.files.backup import keep_old
from flare_infer.files.record import record_from_fields
from flare_infer.files.write_whole import PART_PREFIX, write_whole
from flare_infer.model.facts import CARD_FILE
from flare_infer.model.model_file import SPEC_FILE
from flare_infer.model.network import UNet
from flare_infer.model.spec import ModelSpec
from flare_infer.model.weights import WEIGHTS_FILE, save_model
from flare_infer.nnunet.exporting import Exported, export_nnunet
from flare_infer.version import __version__
from train.dataset.cases import untrained_codes
from train.export.proof import STORED, Proof, prove
from train.fit.checkpoint import Checkpoint, NetworkChoice, load_network_of
from train.fit.matching_store import CHECKED_FILE
from train.fit.sources import TrainingSources, annotated_sets, provenance, refuse_other_store
from train.problems import refuse_filled
from train.recipes.recipe import TrainingRecipe, recipe_from_json
from train.store.store import read_store


@dataclass(frozen=True, kw_only=True)
class ExportedRun:
    """The result of an export.

    Attributes:
        spec: specification of the exported model.
        proof: largest differences between its logits and those of the trained network.
        nnunet: the folder for nnU-Net; None if none was written.
    """

    spec: ModelSpec
    proof: Proof
    nnunet: Exported | None = None


def export(
    run: Path,
    store: Path,
    target: Path,
    nnunet: Path | None = None,
    which: NetworkChoice | None = None,
    *,
    replacing: bool = False,
) -> ExportedRun:
    """Write the network of a run's checkpoint as model.json and model.safetensors, and the start of a model card.

    Both folders are written under other names, read back and compared with the trained network, and only then renamed.

    Args:
        run: folder of the run.
        store: folder of the prepared cases it was trained on; a class that none of them annotates becomes `untrained`.
            If the run was continued with other cases, the store of the last ones; the model names all.
        target: weights directory. A model card that is there before a model is kept.
        nnunet: folder for the same model in the form that nnU-Net's predictor loads; empty or not existing yet. None
            for none.
        which: which network of the run; None takes the best one, or the last one of a run without validation.
        replacing: whether the model may take the place of one in `target`. The model card of the other is kept as
            MODEL_CARD.md.old, since it says nothing about this one.

    Raises:
        DatasetError: if the run has no checkpoint, or the store is not readable or not the one of the run.
        UsageError: if `target` holds a model and `replacing` is false, or the nnU-Net folder is not empty or is the
            weights directory.
        WeightsError: if the written model does not give the logits of the trained network; see `prove`.
    """
    checkpoint = load_network_of(run, which)
    if (target / SPEC_FILE).exists() and not replacing:
        raise UsageError(f"{target}: holds a model already; choose another folder, or --replace it")
    if nnunet is not None:
        _refuse_unless_new(nnunet, target)
    recipe = recipe_from_json(checkpoint.recipe)
    cases = read_store(store, with_unlabeled=recipe.unlabeled, remembered=run / CHECKED_FILE)
    sources = [record_from_fields(TrainingSources, fields) for fields in checkpoint.sources]
    refuse_other_store(run, store, sources, cases)
    spec = _with_provenance(recipe, checkpoint, sources or [TrainingSources.of(store, cases)])
    network = UNet(spec.network, spec.classes)
    network.load_state_dict(checkpoint.network)
    with _scratch_beside(target) as weights_part, _scratch_beside(nnunet or target) as nnunet_part:
        save_model(weights_part, spec, network, precision=STORED)
        made = None if nnunet is None else export_nnunet(weights_part, nnunet_part)
        proof = prove(network, spec, weights_part, None if made is None else made.folder)
        if nnunet is not None and made is not None:
            nnunet_part.replace(nnunet)
            made = replace(made, folder=nnunet)
        target.mkdir(parents=True, exist_ok=True)
        card = target / CARD_FILE
        if (target / SPEC_FILE).exists() and card.exists():
            keep_old(card)
            card.unlink(missing_ok=True)
        for name in (WEIGHTS_FILE, SPEC_FILE):
            (weights_part / name).replace(target / name)
    if not card.exists():
        write_whole(card, model_card(spec))
    return ExportedRun(spec=spec, proof=proof, nnunet=made)


def model_card(spec: ModelSpec) -> str:
    """The part of a model card that can be generated: training, cases, and classes with their numbers of cases."""
    training = spec.training
    annotated, unlabeled = training["annotated_cases"], training["unlabeled_cases"]
    lines = [
        f"# {spec.name}",
        "",
        f"Trained for {training['steps']} of {training['planned_steps']} steps of {training['batch']} patches on "
        f"{len(training['cases'])} cases: {', '.join(training['cases'])}."
        + (f" {len(unlabeled)} of them have pseudo labels only." if unlabeled else "")
        + (f" It began with the weights {training['started_from']['name']}." if "started_from" in training else "")
        + _of_other_cases(training),
        "",
        "| code | class | training cases that annotate it |",
        "|---|---|---|",
    ]
    for code, name in list(enumerate(spec.labels))[1:]:
        lines.append(f"| {code} | {name} | {annotated[str(code)] or 'none: untrained, never predicted'} |")
    return "\n".join(lines) + "\n"


def _of_other_cases(training: Mapping[str, Any]) -> str:
    """Sentences for a model whose cases changed during training, or of which some gave only tumors to paste."""
    said = ""
    if "object_cases" in training:
        said += f" Tumors to paste came from {', '.join(training['object_cases'])}, too."
    if "cases_changed_at" in training:
        steps = ", ".join(str(step) for step in training["cases_changed_at"])
        said += f" The cases were changed after step {steps}; all of them are named."
    if "not_recorded_before" in training:
        said += f" What it learned from before step {training['not_recorded_before']} was not recorded."
    if "trained_and_validated" in training:
        names = ", ".join(training["trained_and_validated"])
        said += f" Validation scores are too good: {names} trained as well as validated."
    return said


def _with_provenance(recipe: TrainingRecipe, checkpoint: Checkpoint, sources: list[TrainingSources]) -> ModelSpec:
    training = {
        "version": __version__,
        **provenance(sources, recipe.spec.label_set),
        "steps": checkpoint.step,
        "planned_steps": recipe.steps,
        "batch": recipe.batch,
        "seed": recipe.seed,
        "skipped_steps": checkpoint.skipped,
        **({"started_from": checkpoint.origin} if checkpoint.origin else {}),
    }
    return replace(
        recipe.spec, untrained=untrained_codes(annotated_sets(sources), recipe.spec.label_set), training=training
    )


def _refuse_unless_new(nnunet: Path, target: Path) -> None:
    if nnunet.resolve() == target.resolve():
        raise UsageError(f"{nnunet}: the weights are written there; choose another folder for nnU-Net's")
    refuse_filled(nnunet)


@contextmanager
def _scratch_beside(final: Path) -> Iterator[Path]:
    """A new folder beside another, on the same file system; it is deleted at the end with whatever is left in it."""
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=final.parent, prefix=PART_PREFIX) as scratch:
        folder = Path(scratch) / "export"
        folder.mkdir()
        yield folder
