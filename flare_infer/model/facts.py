"""What `flare-infer info` says of a model: what it may be used for, and what it learned from."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from flare_infer.errors import one_line
from flare_infer.model.model_file import ModelFile
from flare_infer.model.spec import ModelSpec
from flare_infer.model.weights import check_weights, count_parameters

CARD_FILE: Final = "MODEL_CARD.md"
LICENSE_FILE: Final = "LICENSE"

_LICENSE: Final = re.compile(r"^\W*licen[cs]e(?: of the weights)?\s*:\s*(.+)$", re.IGNORECASE | re.MULTILINE)
"""The line of a model card that says it; the mark-up in it goes."""

_MOST_BYTES: Final = 2**20
_NOT_STATED: Final = "not stated"


def model_facts(model: ModelFile) -> dict[str, str]:
    """What there is to say of a model as a whole, by name, each in one line.

    Raises:
        SpecError, WeightsError: if it cannot be used.
    """
    spec, directory, sha256 = model.spec, model.directory, check_weights(model)
    add = f'not recorded: add "sha256": "{sha256}" to model.json to have it checked'
    facts = {
        "use": "research; not a medical device, not for any decision about a patient",
        "license": _license(directory),
        "folder": str(directory),
        "parameters": f"{count_parameters(directory) / 1e6:.2f} million",
        "spacing (z, y, x)": " x ".join(f"{value:g}" for value in spec.spacing_mm) + " mm",
        "patch (z, y, x)": " x ".join(str(value) for value in spec.patch),
        "features": ", ".join(str(value) for value in spec.network.features),
        "training cases": _cases(spec.training),
        "untrained": ", ".join(spec.labels[code] for code in spec.untrained) or "none",
        "sha256": f"{sha256} ({add if model.sha256 is None else 'as model.json records'})",
    }
    origin = _mapping(spec.training.get("started_from"))
    if origin:
        facts["began with"] = f"{origin.get('name', 'weights')}: {_cases(_mapping(origin.get('training')))}"
    return {name: one_line(fact) for name, fact in facts.items()}


def class_table(spec: ModelSpec) -> Table:
    """How many training cases annotate each class; real and painted ones apart, where the model says so."""
    painted = _mapping(_mapping(spec.training.get("painted")).get("annotated_cases"))
    every = _mapping(spec.training.get("annotated_cases"))
    columns = ("real cases that annotate it", "painted ones") if painted else ("training cases that annotate it",)
    table = Table("code", "class", *columns)
    for code, name in list(enumerate(spec.labels))[1:]:
        count, of_painted = every.get(str(code), _NOT_STATED), painted.get(str(code), 0)
        counts = [str(count)]
        if painted:
            is_known = isinstance(count, int) and isinstance(of_painted, int)
            counts = [str(count - of_painted) if is_known else str(count), str(of_painted)]
        if code in spec.untrained:
            counts[0] = "untrained: never predicted"
        # As text, since names from a file are no markup.
        table.add_row(str(code), Text(name), *(Text(one_line(text)) for text in counts))
    return table


def _cases(training: Mapping[str, Any]) -> str:
    """How many cases were trained on: real and painted ones apart, where that is stated."""
    names = training.get("cases")
    if not isinstance(names, list):
        return _NOT_STATED
    if "painted" not in training:
        return f"{len(names)} (not stated which of them are painted)"
    painted = _mapping(training["painted"]).get("cases")
    count = len(painted) if isinstance(painted, list) else 0
    pseudo = len(_mapping(training.get("pseudo_labeled")))
    labeled_by_a_model = f" ({pseudo} of them labeled by a model)" if pseudo else ""
    return f"{len(names) - count} real{labeled_by_a_model}, {count} painted"


def _license(directory: Path) -> str:
    """What the model card beside the weights says, and where the full text lies."""
    try:
        with (directory / CARD_FILE).open("rb") as file:
            card = file.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        card = ""
    found = _LICENSE.search(card)
    stated = "not stated; ask whoever trained it" if found is None else re.sub(r"[*_`]", "", found[1]).strip()
    texts = [folder / LICENSE_FILE for folder in (directory, directory.parent) if (folder / LICENSE_FILE).is_file()]
    return f"{stated} ({texts[0]})" if texts and found is not None else stated


def _mapping(value: object) -> Mapping[str, Any]:
    """What a file says, if it is a mapping as it should be."""
    return value if isinstance(value, dict) else {}
