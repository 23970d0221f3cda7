"""One network out of several that began with the same weights (Wortsman et al., Model soups, ICML 2022)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from flare_infer import labels
from flare_infer.errors import SpecError, UsageError
from flare_infer.model.model_file import SPEC_FILE
from flare_infer.model.weights import load_networks, save_model

_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Average:
    """How several networks become one.

    Attributes:
        shares: share of each network, by the name of its training; their sum is 1.
        tumor_bias: number added to the logit of tumor: at 1 it wins where it is e times less probable than the next
            class.
        tumor_lead: as in `ModelSpec`, after that: at 6.5, tumor must lead by e^5.5 somewhere.
        smallest_part: as in `ModelSpec`.
        tumor_organs: as in `ModelSpec`.
    """

    shares: dict[str, float]
    tumor_bias: float = 0.0
    tumor_lead: float = 0.0
    smallest_part: tuple[float, ...] = ()
    tumor_organs: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if min(self.shares.values(), default=0) <= 0 or abs(sum(self.shares.values()) - 1) > 1e-6:
            raise SpecError(f"shares are above 0 and their sum is 1, found {self.shares}")


def average(how: Average, models: Sequence[Path], target: Path, origins: Mapping[str, Any] | None = None) -> None:
    """Write the network whose numbers are those of several, each by its share.

    Args:
        how: shares, and how tumors are treated.
        models: weights folder of each network, in the order of the shares.
        target: new weights folder; its model.json is that of the model with the largest share.
        origins: who labeled the cases of that model, as `flare-train assemble` records it; None where experts did.

    Raises:
        UsageError: if there are not as many models as shares, their networks differ, or `target` holds a model.
        SpecError, WeightsError: if a model cannot be read; see `flare_infer.model.weights.load_networks`.
    """
    if (target / SPEC_FILE).exists():
        raise UsageError(f"{target}: holds a model already; choose another folder or remove it")
    if len(models) != len(how.shares):
        raise UsageError(f"{len(models)} weights folders for {len(how.shares)} shares ({', '.join(how.shares)})")
    loaded = dict(zip(how.shares, (load_networks(folder, _CPU) for folder in models), strict=True))
    spec, (network, *_) = loaded[max(how.shares, key=how.shares.__getitem__)]
    if differing := [name for name, (other, _) in loaded.items() if other.network != spec.network or other.folds != 1]:
        raise UsageError(f"{', '.join(differing)}: another network, or one of several folds; no average can be had")
    if spec.own_labels is not None and how.tumor_bias:
        raise UsageError("tumor_bias is for the challenge's tumors, and these models have a label set of their own")
    states = {name: networks[0].state_dict() for name, (_, networks) in loaded.items()}
    mixed = {
        key: torch.stack([share * states[name][key] for name, share in how.shares.items()]).sum(dim=0)
        for key in network.state_dict()
    }
    for key, numbers in mixed.items():
        if how.tumor_bias and key.startswith("heads.") and key.endswith(".bias"):
            numbers[labels.TUMOR] += how.tumor_bias
    network.load_state_dict(mixed)
    averaged = [{"share": share, "cases": loaded[name][0].training["cases"]} for name, share in how.shares.items()]
    training = {**spec.training, "averaged": averaged, "tumor_bias": how.tumor_bias}
    finished = replace(
        spec,
        smallest_part=how.smallest_part,
        tumor_organs=how.tumor_organs,
        tumor_lead=how.tumor_lead,
        training=training | (stated(training, origins) if origins else {}),
    )
    save_model(target, finished, network)


def stated(training: Mapping[str, Any], origins: Mapping[str, Any]) -> dict[str, Any]:
    """What a model says of its labels: only those of experts and painted ones count as annotated.

    Args:
        training: what it would say, pseudo labels counted like those of experts.
        origins: codes by case of those that are painted, and of those with pseudo labels.
    """
    painted = origins["painted"]
    pseudo = {name: codes for name, codes in origins["pseudo_labeled"].items() if name in training["cases"]}
    drawn = {code: count - _count(pseudo, int(code)) for code, count in training["annotated_cases"].items()}
    counts = {str(code): _count(painted, code) for code in labels.CODES}
    return {
        "annotated_cases": drawn,
        "painted": {"cases": sorted(painted), "annotated_cases": counts},
        "pseudo_labeled": pseudo,
    }


def _count(cases: Mapping[str, Sequence[int]], code: int) -> int:
    return sum(code in codes for codes in cases.values())
