"""The stages that measure the coarse model on cases it never saw."""

from dataclasses import replace

from train.protocol.config import Config, Counts, Test
from train.protocol.model_stages import predict_stage
from train.protocol.run_folder import RunFolder
from train.workflow.stage import Stage


def test_stages(config: Config, counts: Counts, run_folder: RunFolder) -> list[Stage]:
    """Predict each set of test cases, and score it where there are expert labels."""
    stages = []
    for test in config.test:
        labels, weights = run_folder.test(test.name, "labels"), run_folder.coarse("weights")
        name, cases = f"predict-{test.name}", counts.tests[test.name]
        predict = predict_stage(name, test.images, labels, weights, config.machine.device, cases)
        stages.append(replace(predict, inputs={"images": [test.images]}, after=("export-coarse",)))
        if test.labels is not None:
            stages.append(_score(config, test, run_folder))
    return stages


def _score(config: Config, test: Test, run_folder: RunFolder) -> Stage:
    labels, scores = run_folder.test(test.name, "labels"), run_folder.test(test.name, "scores")
    weights = ("--weights", str(run_folder.coarse("weights"))) if test.mode == "fixed" else ()
    places_of = (str(labels), str(test.labels), "--images", str(test.images), "--out", str(scores))
    return Stage(
        name=f"score-{test.name}",
        command=("flare-eval", "score", *places_of, "--mode", test.mode, *weights),
        running=("--jobs", str(config.machine.workers)),
        workers=config.machine.workers,
        settings={"mode": test.mode},
        inputs={} if test.labels is None else {"labels": [test.labels], "images": [test.images]},
        after=(f"predict-{test.name}",),
        output=scores,
        proof="summary.md",
        tables={
            f"{test.name}.md": "summary.md",
            f"{test.name}-table3.md": "table3.md",
            f"{test.name}.csv": "scores.csv",
        },
        pictures={f"{test.name}-{name}": name for name in ("cases.png", "dsc.png", "nsd.png", "tumor.png")},
    )
