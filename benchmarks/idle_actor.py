"""A worker that has no model and answers at once, to measure what lies around it."""

from dataclasses import replace
from pathlib import Path

from flare_infer.cluster.task import Answer, Job, Setting, Task
from flare_infer.runs.case_result import CaseResult
from flare_infer.runs.identity import SegmentationRecipe


class IdleActor:
    """Takes what `flare_infer.cluster.actor.Actor` takes."""

    def open(self, job: Job) -> Setting:
        """With what it works: with nothing."""
        return Setting(recipe=SegmentationRecipe(weights_sha256="none", options={}))

    def run(self, task: Task) -> Answer:
        """Say that a case is done."""
        result = CaseResult(name=task.name, output=Path(f"{task.name}.nii.gz"), seconds=0.0)
        hashes = {"output_sha256": "0" * 64, "input_sha256": "1" * 64}
        return Answer(result=result, record=replace(task.record, status="written", starts=0, **hashes))

    def stop(self) -> None:
        """There is nothing to give up."""
