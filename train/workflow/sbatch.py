"""A shell script that submits stages to Slurm, each as a job that waits for those it reads from.

Options of sbatch as its manual has them (https://slurm.schedmd.com/sbatch.html), "FILENAME PATTERN" for names of logs.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from flare_infer.errors import UsageError
from train.workflow.engine import LOGS
from train.workflow.stage import Stage, only_command

_HEAD: Final = """\
#!/bin/sh
# Submits the stages of a pipeline to Slurm, one job each, and says their numbers:
#
#     sh THIS_FILE [OPTIONS OF sbatch]    # for all jobs, such as --partition=gpu --mem=64G --cpus-per-task=12
#
# A job starts when those it reads from have ended well. What is done is known by the pipeline's own stamps: such a job
# ends at once, so that after a failure, or the end of a time limit, the same submission goes on from there.
# Written by flare-train pipeline --export sbatch.
set -eu

submit() {
    stage=$1
    shift
    job=$(sbatch --parsable --job-name="$stage" --nodes=1 --requeue --open-mode=append --kill-on-invalid-dep=yes "$@")
    job=${job%%;*} # a cluster's name may follow
    submitted="$submitted $job"
    echo "$stage: job $job"
}

submitted=
trap '[ $? -eq 0 ] || echo "error: not all jobs were submitted; to take back the others: scancel$submitted" >&2' EXIT
"""


def sbatch_script(config: Path, run: Path, stages: Sequence[Stage]) -> str:
    """The text of a script for `sh`; options that it is given are added to those of every job.

    Args:
        config: absolute path of the pipeline's configuration, as every node sees it.
        run: the run folder.
        stages: in order, each after those it reads from.

    Raises:
        UsageError: if Slurm cannot name the logs.
    """
    read = {name for stage in stages for name in stage.after}
    jobs = {stage.name: f"job{number}" for number, stage in enumerate(stages, start=1)}
    lines = [_HEAD, f"mkdir -p {shlex.quote(str(run / LOGS))}"]
    for stage in stages:
        words = [f"--output={_log_pattern(run / LOGS / f'{stage.name}.slurm.log')}"]
        words += [f"--cpus-per-task={stage.workers}"] * (stage.workers > 1) + [f"--gpus={stage.gpus}"] * (
            stage.gpus > 0
        )
        words.append(f"--wrap=exec {only_command(config, stage.name)}")
        waits = [f'--dependency=afterok:"{":".join(f"${jobs[name]}" for name in stage.after)}"'] if stage.after else []
        lines.append(" ".join(["submit", shlex.quote(stage.name), *waits, *map(shlex.quote, words), '"$@"']))
        if stage.name in read:
            lines.append(f"{jobs[stage.name]}=$job")
    return "\n".join(lines) + "\n"


def _log_pattern(log: Path) -> str:
    """A path in which Slurm replaces nothing.

    Raises:
        UsageError: if there is a backslash in it, after which Slurm would take `%%` as it stands.
    """
    if "\\" in str(log):
        raise UsageError(f"{log}: Slurm cannot write a log to a path with a backslash; choose another run folder")
    return str(log).replace("%", "%%")
