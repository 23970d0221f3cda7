"""The command `flare-eval score`: what it prints, writes and returns."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flare_eval.cli import app
from flare_infer.spec import ModelSpec, Network, Normalization, write_spec


def run(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["score", str(folder / "predictions"), str(folder / "references"), *options])


@pytest.fixture
def one_case(draw, save, tmp_path: Path) -> Path:
    save("predictions/a.nii.gz", draw("11."))
    save("references/a.nii.gz", draw("1.."))
    return tmp_path


def test_all_scored_is_exit_code_0(one_case: Path) -> None:
    result = run(one_case)
    assert result.exit_code == 0
    assert "0.6667" in result.stdout
    assert "all classes count as annotated" in result.stdout


def test_report_files(one_case: Path) -> None:
    out = one_case / "new" / "report"
    assert run(one_case, "--out", str(out)).exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["scores.csv", "summary.md"]
    assert (out / "scores.csv").read_text().splitlines()[:2] == ["case,class,name,dsc,nsd", "a,1,liver,0.666667,"]
    assert "| 1 | liver | 1 | 0.6667 | - | 0.6667 |" in (out / "summary.md").read_text()


def test_missing_prediction_is_exit_code_1_and_named(one_case: Path, draw, save) -> None:
    save("references/gone.nii.gz", draw("1.."))
    result = run(one_case)
    assert result.exit_code == 1
    assert "missing prediction, counted as 0: gone" in result.stdout


def test_failed_case_is_exit_code_1_and_named(one_case: Path, draw, save) -> None:
    save("predictions/b.nii.gz", draw("11"))
    save("references/b.nii.gz", draw("111"))
    result = run(one_case)
    assert result.exit_code == 1
    assert "failed, in no mean: b:" in result.stdout
    assert "0.6667" in result.stdout


def test_prediction_without_reference_is_exit_code_0_and_named(one_case: Path, draw, save) -> None:
    save("predictions/extra.nii.gz", draw("1.."))
    result = run(one_case)
    assert result.exit_code == 0
    assert "prediction without a reference, not scored: extra" in result.stdout


def test_annotated_option(one_case: Path) -> None:
    file = one_case / "some.json"
    file.write_text('{"a": [2]}')
    out = one_case / "out"
    assert run(one_case, "--annotated", str(file), "--out", str(out)).exit_code == 0
    assert (out / "scores.csv").read_text().splitlines() == ["case,class,name,dsc,nsd", "a,2,right kidney,1.000000,"]


def test_weights_option_leaves_untrained_classes_out(one_case: Path) -> None:
    weights, out = one_case / "weights", one_case / "out"
    weights.mkdir()
    network = Network(
        features=(4, 8),
        kernels=((3, 3, 3), (3, 3, 3)),
        strides=((1, 1, 1), (2, 2, 2)),
        convolutions_encoder=(1, 1),
        convolutions_decoder=(1,),
    )
    normalization = Normalization(clip_low_hu=-100, clip_high_hu=200, mean_hu=0, std_hu=50)
    spec = ModelSpec(
        name="toy",
        spacing_mm=(4, 2, 2),
        patch=(8, 8, 8),
        normalization=normalization,
        network=network,
        untrained=(1, 14),
    )
    write_spec(spec, weights)
    result = run(one_case, "--weights", str(weights), "--out", str(out))
    assert result.exit_code == 0
    assert "untrained, left out: 1 liver, 14 tumor" in result.stdout
    assert "a,1,liver,,\n" in (out / "scores.csv").read_text()


@pytest.mark.parametrize(
    "options", [["--annotated", "nowhere.json"], ["--weights", "nowhere"], ["--out", "pyproject.toml/out"]]
)
def test_impossible_options_are_exit_code_2_and_one_line(
    one_case: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.chdir(one_case)
    (one_case / "pyproject.toml").touch()
    result = run(one_case, *options)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_missing_folder_is_exit_code_2(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {tmp_path}")
    assert result.stderr.count("\n") == 1


def test_a_case_that_is_not_covered_is_exit_code_2(one_case: Path) -> None:
    (one_case / "references/annotated.json").write_text(json.dumps({"b": [1]}))
    result = run(one_case)
    assert result.exit_code == 2
    assert "case a is not listed" in result.stderr


def test_brackets_in_a_path_are_no_markup(draw, save, tmp_path: Path) -> None:
    save("[red]/a.nii.gz", draw("1"))
    save("[bold]/a.nii.gz", draw("1"))
    result = CliRunner().invoke(app, ["score", str(tmp_path / "[red]"), str(tmp_path / "[bold]")])
    assert result.exit_code == 0
    assert "[red]" in "".join(result.stdout.split())
