"""The whole protocol in small: a painted cohort and a configuration that ends in minutes on two CPU cores."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from flare_infer.files.write_whole import write_whole
from train.problems import refuse_filled
from train.synth.cohort import UNLABELED_FOLDER, write_cohort
from train.synth.cohort_plan import cohort_plan_of

EXAMPLE_FILE: Final = "pipeline.toml"
_COHORT: Final = "cohort"
_TEST: Final = "test"

PLAN: Final = cohort_plan_of(13, validation=2, unlabeled=4, spacing_mm=(6.0, 6.0, 6.0), seed=2023)
CASES: Final = sum(group.cases for group in PLAN.groups) + PLAN.unlabeled + PLAN.validation

_SMALL: Final = """\
spacing_mm = [6.0, 6.0, 6.0]
patch = [32, 32, 32]
network = { features = [8, 16, 32, 64, 64] }"""

CONFIG: Final = f"""\
# The paper's whole protocol on a painted cohort, with small networks: minutes on two CPU cores.
# docs/examples/pipeline.toml explains every field. What it reaches says nothing about patients.

run = "run"
data = {{ dataset = "{_COHORT}", unlabeled = "{_COHORT}/{UNLABELED_FOLDER}" }}
machine = {{ device = "auto", workers = 2 }}

[fine]                            # two models: each is a source of predictions to compare
recipe = "lite"
seeds = [1, 2]

[fine.change]
steps = 200
optimization = {{ learning_rate = 0.006, warmup = 20 }}

[fine.change.spec]
name = "fine"
{_SMALL}

[coarse]
recipe = "lite"

[coarse.change]
steps = 200
cutmix = true
cleaning = true
unlabeled = true
cleaning_rules = {{ smallest_voxels = 10 }}    # at 6 mm a hundred voxels are 22 mL
optimization = {{ learning_rate = 0.006, warmup = 20 }}
validation = {{ every_steps = 100 }}

[coarse.change.spec]
name = "coarse"
{_SMALL}

[pseudo]
organs = ["fine-1", "fine-2"]
tumor = ["fine-1", "fine-2"]
select = 3
with_tumor = 1

[[test]]
name = "validation"
images = "{_TEST}/images"
labels = "{_TEST}/labels"
"""


def write_example(folder: Path, progress: Callable[[], None] = lambda: None) -> Path:
    """Paint a cohort and write a configuration beside it; nothing is trained.

    Args:
        folder: where to; it must be empty or not there yet.
        progress: called after each of `CASES` painted cases.

    Returns:
        the configuration, for `flare-train pipeline`.

    Raises:
        UsageError: if the folder holds something.
    """
    refuse_filled(folder)
    cohort = folder / _COHORT
    write_cohort(cohort, PLAN, progress=progress)
    for kind, name in (("images", "imagesTr"), ("labels", "labelsTr")):
        place = folder / _TEST / kind
        place.mkdir(parents=True)
        for path in (cohort / name).glob("validation*"):
            shutil.copyfile(path, place / path.name)
    config = folder / EXAMPLE_FILE
    write_whole(config, CONFIG)
    return config
