"""The command `flare-eval score`: what it prints, writes and returns."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flare_eval.commands.app import app
from flare_infer.model.architecture import Network
from flare_infer.model.model_file import write_spec
from flare_infer.model.spec import ModelSpec, Normalization


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
    tables = {
        "froc.csv",
        "lesions.csv",
        "scores.csv",
        "summary.md",
        "table3.csv",
        "table3.md",
        "table3.tex",
        "volumes.csv",
    }
    assert {path.name for path in out.iterdir()} == {"cases.png", "dsc.png", "nsd.png"} | tables
    assert (out / "scores.csv").read_text().splitlines()[:2] == [
        "case,class,name,dsc,nsd",
        "a,1,liver,0.666667,1.000000",
    ]
    assert "| 1 | liver | 1 | 0.6667 | - | 0.6667 | 1.0000 | - | 1.0000 |" in (out / "summary.md").read_text()
    assert "a,1,liver,0.0020\n" in (out / "volumes.csv").read_text()  # one voxel of 2 x 1 x 1 mm


def test_tables_are_written_where_pillow_is_missing(one_case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    out = one_case / "report"
    result = run(one_case, "--out", str(out))
    assert result.exit_code == 0
    assert result.stderr == (
        'tables are written, pictures are not: charts need matplotlib and Pillow: pip install "flare-infer[picture]"\n'
    )
    assert (out / "table3.md").is_file()


def test_a_picture_that_cannot_be_drawn_is_in_the_exit_code(one_case: Path) -> None:
    (one_case / "references" / "a_0000.nii.gz").write_bytes(b"this is no image")
    (one_case / "references" / "a.nii.gz").rename(one_case / "references" / "a_labels.nii.gz")
    result = run(one_case, "--out", str(one_case / "report"))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: tables are written, not all pictures are: ")
    assert "a_0000.nii.gz" in result.stderr
    assert (one_case / "report" / "table3.md").is_file()
    result = run(one_case, "--out", str(one_case / "report"), "--images", str(one_case / "nowhere"))
    assert (result.exit_code, "nowhere" in result.stderr) == (1, True)


def test_a_report_without_cts_says_so(one_case: Path, draw, save) -> None:
    out = one_case / "report"
    line = "cases.png shows labels alone for a: no CT on their grid; --images FOLDER names CTs"
    assert line in run(one_case, "--out", str(out)).stdout
    save("cts/a_0000.nii.gz", (draw("1..") * 40).astype("int16"))
    assert line not in run(one_case, "--out", str(out), "--images", str(one_case / "cts")).stdout
    save("cts/a_0000.nii.gz", (draw("1.....") * 40).astype("int16"))
    assert line in run(one_case, "--out", str(out), "--images", str(one_case / "cts")).stdout


def test_official_mode_stops_at_a_missing_prediction_with_its_name(one_case: Path, draw, save) -> None:
    save("references/gone.nii.gz", draw("1.."))
    result = run(one_case, "--mode", "official")
    assert result.exit_code == 2
    assert "no prediction for gone" in result.stderr


def test_official_mode_scores_all_classes(one_case: Path) -> None:
    (one_case / "references/annotated.json").write_text('{"a": [1]}')
    assert run(one_case, "--mode", "official", "--out", str(one_case / "out")).exit_code == 0
    assert len((one_case / "out/scores.csv").read_text().splitlines()) == 15
    refused = run(one_case, "--mode", "official", "--annotated", str(one_case / "references/annotated.json"))
    assert refused.exit_code == 2
    assert "official mode scores every class" in refused.stderr


def test_folders_without_a_common_case_are_exit_code_2(draw, save, tmp_path: Path) -> None:
    save("predictions/a.nii.gz", draw("1"))
    save("references/b.nii.gz", draw("1"))
    result = run(tmp_path)
    assert result.exit_code == 2
    assert "no case name in common" in result.stderr
    assert result.stderr.count("\n") == 1


def test_rank_and_compare(one_case: Path, draw, save) -> None:
    assert run(one_case, "--out", str(one_case / "one")).exit_code == 0
    save("predictions/a.nii.gz", draw("1.."))
    assert run(one_case, "--out", str(one_case / "two")).exit_code == 0
    folders = [str(one_case / "one"), f"better={one_case / 'two'}"]
    ranked = CliRunner().invoke(app, ["rank", *folders])
    assert ranked.exit_code == 0
    assert ranked.stdout.index("| better | 1.000 |") < ranked.stdout.index("| one | 2.000 |")
    compared = CliRunner().invoke(app, ["compare", *folders, "--out", str(one_case / "report")])
    assert compared.exit_code == 0
    assert "## better minus one" in (one_case / "report/comparison.md").read_text()
    alone = CliRunner().invoke(app, ["rank", folders[0]])
    assert alone.exit_code == 2
    assert alone.stderr.startswith("error: expected at least two submissions")


def test_missing_prediction_is_exit_code_1_and_named(one_case: Path, draw, save) -> None:
    save("references/gone.nii.gz", draw("1.."))
    result = run(one_case)
    assert result.exit_code == 1
    assert "missing prediction, counted as 0: gone" in result.stdout


def test_failed_case_is_exit_code_1_and_named(one_case: Path, draw, save) -> None:
    save("predictions/b.nii.gz", draw("11"))
    save("references/b.nii.gz", draw("9"))
    (one_case / "references/b.nii.gz").write_bytes(b"no image")
    result = run(one_case)
    assert result.exit_code == 1
    assert "failed, in no mean: b:" in result.stdout
    assert "0.6667" in result.stdout


def test_a_damaged_prediction_is_compared_as_zeros(one_case: Path, draw, save) -> None:
    save("predictions/b.nii.gz", draw("11"))
    save("references/b.nii.gz", draw("11"))
    assert run(one_case, "--out", str(one_case / "sound")).exit_code == 0
    (one_case / "predictions/b.nii.gz").write_bytes(b"no image")
    result = run(one_case, "--out", str(one_case / "damaged"))
    assert (result.exit_code, result.stderr) == (1, "")
    assert "damaged prediction, counted as missing: b: " in result.stdout
    folders = [str(one_case / name) for name in ("sound", "damaged")]
    assert CliRunner().invoke(app, ["compare", *folders, "--out", str(one_case / "report")]).exit_code == 0
    report = (one_case / "report/comparison.md").read_text()
    assert "## Accuracy, 2 common case(s)" in report
    assert "| 1 | liver | DSC | 2 | -0.5000 |" in report


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
    assert (out / "scores.csv").read_text().splitlines() == [
        "case,class,name,dsc,nsd",
        "a,2,right kidney,1.000000,1.000000",
    ]


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


def test_weights_that_came_along_are_found_by_their_name(one_case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(one_case)
    result = run(one_case, "--weights", "lite")
    assert result.exit_code == 0
    assert "untrained" not in result.stdout, "lite learned all classes"


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
