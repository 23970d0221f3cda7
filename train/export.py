"""A finished run to a weights directory."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

from flare_infer import __version__
from flare_infer.network import UNet
from flare_infer.spec import ModelSpec, spec_from_fields
from flare_infer.weights import save_model
from train.data.cases import untrained_codes
from train.data.store import PreparedCase, read_store
from train.fit.checkpoint import Checkpoint, Which, load_network_of

CARD_FILE: Final = "MODEL_CARD.md"


def export(run: Path, store: Path, target: Path, which: Which | None = None) -> ModelSpec:
    """Write the network of a run's checkpoint as model.json and model.safetensors, and the start of a model card.

    Args:
        run: folder of the run.
        store: the prepared cases it was trained on; a class that none of them annotates becomes `untrained`.
        target: weights directory; a model card that is there already is kept.
        which: which network of the run; None is the best one where there is one.

    Returns:
        the specification written.

    Raises:
        DatasetError: if the run has no checkpoint or the store is not readable.
    """
    checkpoint = load_network_of(run, which)
    spec = _with_provenance(spec_from_fields(json.loads(checkpoint.recipe)["spec"]), checkpoint, read_store(store))
    network = UNet(spec.network, spec.classes)
    network.load_state_dict(checkpoint.network)
    save_model(target, spec, network)
    card = target / CARD_FILE
    if not card.exists():
        card.write_text(model_card(spec), encoding="utf-8")
    return spec


def model_card(spec: ModelSpec) -> str:
    """The part of a model card that numbers can write: what was trained, on how many cases, and what was not."""
    training = spec.training
    annotated = training["annotated_cases"]
    lines = [
        f"# {spec.name}",
        "",
        f"Trained for {training['steps']} of {training['planned_steps']} steps of {training['batch']} patches on "
        f"{len(training['cases'])} cases: {', '.join(training['cases'])}.",
        "",
        "| code | class | training cases that annotate it |",
        "|---|---|---|",
    ]
    for code, name in list(enumerate(spec.labels))[1:]:
        lines.append(f"| {code} | {name} | {annotated[str(code)] or 'none: untrained, never predicted'} |")
    return "\n".join(lines) + "\n"


def _with_provenance(spec: ModelSpec, checkpoint: Checkpoint, cases: list[PreparedCase]) -> ModelSpec:
    recipe = json.loads(checkpoint.recipe)
    annotated_sets = [case.annotated for case in cases]
    training = {
        "version": __version__,
        "cases": [case.name for case in cases],
        "annotated_cases": {
            str(code): sum(code in codes for codes in annotated_sets) for code in range(1, spec.classes)
        },
        "steps": checkpoint.step,
        "planned_steps": recipe["steps"],
        "batch": recipe["batch"],
        "seed": recipe["seed"],
        "skipped_steps": checkpoint.skipped,
    }
    return replace(spec, untrained=untrained_codes(annotated_sets), training=training)
