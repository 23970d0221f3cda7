"""What is there already when a stage starts: kept, gone on with, removed or set aside; nothing foreign is touched."""

import shutil
from pathlib import Path

from flare_infer.files.backup import OLD_SUFFIX
from train.workflow.plan import Step


def settle_leftovers(step: Step) -> Path | None:
    """Make room for a stage, as `Stage.leftovers` says.

    What is there is the pipeline's own, as its stamp says; a plan is refused where no stamp does.

    Returns:
        where the old result was moved, if it was.
    """
    stage = step.stage
    if stage.leftovers == "kept" or not stage.output.exists():
        return None
    if step.changed:
        return _set_aside(stage.output)
    if stage.leftovers == "removed":
        shutil.rmtree(stage.output)
    return None


def _set_aside(folder: Path) -> Path:
    number = 1
    while (old := folder.with_name(f"{folder.name}{OLD_SUFFIX}-{number}")).exists():
        number += 1
    return folder.rename(old)
