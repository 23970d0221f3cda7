"""A model for which no part of a class is too small, where labels are compared with those of others."""

from dataclasses import replace
from pathlib import Path

from flare_infer.model.model_file import read_model_file, write_spec
from flare_infer.model.weights import WEIGHTS_FILE


def keeping_islands(weights: Path, target: Path) -> Path:
    """The same weights in another folder, with a model.json that drops nothing; the folder is made if need be."""
    model = read_model_file(weights)
    target.mkdir(parents=True, exist_ok=True)
    (target / WEIGHTS_FILE).write_bytes((weights / WEIGHTS_FILE).read_bytes())
    write_spec(replace(model.spec, smallest_part=(), tumor_organs=(), tumor_lead=0.0), target, model.sha256)
    return target
