"""A Snakefile with a rule for each stage.

Snakemake removes the outputs of a rule before it runs and after it fails. Stamps must outlive both: without the stamp
of an interrupted training run nothing could tell whose checkpoints there are. So the outputs of the rules are files of
their own, which only order the jobs and are gone in the end; every start asks the stamps.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from train.workflow.stage import Stage, only_command

FOLDER: Final = "snakemake"
"""The folder of a run in which Snakemake works."""

_HEAD: Final = """\
# Runs the stages of a pipeline, each when those it reads from are done: snakemake --snakefile THIS_FILE --cores 8
#
# On few GPUs, say how many: --resources gpu=1. What is done is known by the pipeline's own stamps, which every job
# asks; the files *.done only order the jobs of one start. Written by flare-train pipeline --export snakefile.
from pathlib import Path
"""

_END: Final = """
def forget():
    for done in Path().glob("*.done"):
        done.unlink()

onsuccess:
    forget()

onerror:
    forget()
"""


def snakefile(config: Path, run: Path, stages: Sequence[Stage]) -> str:
    """The text of the file.

    Args:
        config: absolute path of the pipeline's configuration.
        run: the run folder.
        stages: in order, each after those it reads from.
    """
    read = {name for stage in stages for name in stage.after}
    rules = _rule_names(stages)
    wanted = "".join(f'        "{rules[stage.name]}.done",\n' for stage in stages if stage.name not in read)
    head = f"{_HEAD}\nworkdir: {str(run / FOLDER)!r}\n{_END}\nrule all:\n    input:\n{wanted}"
    return "\n".join([head, *(_rule(config, stage, rules) for stage in stages)])


def _rule(config: Path, stage: Stage, rules: dict[str, str]) -> str:
    # What stands in braces would be filled in by Snakemake.
    command = f"exec {only_command(config, stage.name)}".replace("{", "{{").replace("}", "}}")
    lines = [f"rule {rules[stage.name]}:"]
    if stage.after:
        lines += ["    input:", *(f'        "{rules[name]}.done",' for name in stage.after)]
    lines += ["    output:", f'        touch("{rules[stage.name]}.done"),']
    if stage.workers > 1:
        lines.append(f"    threads: {stage.workers}")
    if stage.gpus:
        lines += ["    resources:", f"        gpu={stage.gpus},"]
    return "\n".join([*lines, "    shell:", f"        {command!r}"]) + "\n"


def _rule_names(stages: Sequence[Stage]) -> dict[str, str]:
    """Identifiers, by stage: the names of stages may hold whatever the name of a folder may."""
    names: dict[str, str] = {}
    for number, stage in enumerate(stages, start=1):
        name = re.sub(r"[^0-9A-Za-z]", "_", stage.name)
        names[stage.name] = f"{name}_{number}" if name in names.values() else name
    return names
