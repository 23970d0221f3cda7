"""The stages that measure the coarse model on cases it never saw."""

from train.protocol.config import Config, Test
from train.protocol.counts import Counts
from train.protocol.run_folder import Places
from train.workflow import workload as amount
from train.workflow.stage import Stage


def test_stages(config: Config, counts: Counts, places: Places, flops: float) -> list[Stage]:
    """Predict each set of test cases, and score it where there are expert labels."""
    stages = []
    for test in config.test:
        stages.append(_predict(config, test, counts.tests[test.name], places, flops))
        if test.labels is not None:
            stages.append(_score(config, test, counts.tests[test.name], places))
    return stages


def _predict(config: Config, test: Test, cases: int, places: Places, flops: float) -> Stage:
    ((recipe, _),) = config.coarse.recipes().values()
    labels, weights = places.test(test.name, "labels"), places.coarse("weights")
    return Stage(
        name=f"predict-{test.name}",
        command=("flare-infer", "predict", str(test.images), str(labels), "--weights", str(weights)),
        running=("--device", config.machine.device),
        inputs={"images": [test.images]},
        after=("export-coarse",),
        output=labels,
        proof="report.json",
        leftovers="kept",
        counted=("*.nii.gz", cases),
        amount=amount.of_predict(cases, recipe.spec, flops),
    )


def _score(config: Config, test: Test, cases: int, places: Places) -> Stage:
    labels, scores = places.test(test.name, "labels"), places.test(test.name, "scores")
    weights = ("--weights", str(places.coarse("weights"))) if test.mode == "fixed" else ()
    places_of = (str(labels), str(test.labels), "--images", str(test.images), "--out", str(scores))
    return Stage(
        name=f"score-{test.name}",
        command=("flare-eval", "score", *places_of, "--mode", test.mode, *weights),
        running=("--jobs", str(config.machine.workers)),
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
        amount=amount.of_score(cases, config.machine.workers),
    )
