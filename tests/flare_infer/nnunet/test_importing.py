"""Models that nnU-Net wrote, imported: they must say what nnU-Net's own predictor says."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from flare_infer.commands.app import app
from flare_infer.errors import FlareError, SpecError, UsageError, WeightsError
from flare_infer.model.model_file import read_model_file
from flare_infer.model.spec import Interpolation
from flare_infer.model.weights import count_parameters, load_networks
from flare_infer.nnunet.checkpoint import read_checkpoint
from flare_infer.nnunet.importing import ImportOptions, import_nnunet
from tests.nnunet import MODELS, OLD, PLAIN, RESIDUAL, changed, configuration, model_folder, truth
from tests.tiny import load_model

CPU = torch.device("cpu")


@pytest.mark.parametrize(("dataset", "folds"), [(OLD, ("0", "1")), (PLAIN, ("all",)), (RESIDUAL, ("0",))])
def test_an_imported_model_says_what_nnunet_says(dataset: Path, folds: tuple[str, ...], tmp_path: Path) -> None:
    import_nnunet(dataset, tmp_path / "new", ImportOptions(folds=folds))
    batch, expected = truth(dataset)
    _, network = load_model(tmp_path / "new", CPU)
    with torch.inference_mode():
        torch.testing.assert_close(network(batch), expected, atol=1e-5, rtol=1e-5)


def test_nothing_less_than_all_folds_and_mirrors_says_it(tmp_path: Path) -> None:
    batch, expected = truth(OLD)
    for name, options in {
        "one fold": ImportOptions(folds=("1",)),
        "no mirrors": ImportOptions(folds=("0", "1"), mirroring=False),
    }.items():
        import_nnunet(OLD, tmp_path / name, options)
        with torch.inference_mode():
            assert (load_model(tmp_path / name, CPU)[1](batch) - expected).abs().max() > 0.01


def test_every_number_is_stored_once(tmp_path: Path) -> None:
    import_nnunet(OLD, tmp_path / "one")
    import_nnunet(OLD, tmp_path / "two", ImportOptions(folds=("0", "1")))
    spec, (network,) = load_networks(tmp_path / "one", CPU)
    assert count_parameters(tmp_path / "one") == sum(parameter.numel() for parameter in network.parameters())
    assert count_parameters(tmp_path / "two") == 2 * count_parameters(tmp_path / "one")
    assert spec.folds == 1


def test_what_a_plan_says_arrives_in_the_spec(tmp_path: Path) -> None:
    old = import_nnunet(OLD, tmp_path / "old").spec
    assert (old.name, old.spacing_mm, old.patch, old.window_step) == ("old", (5.0, 0.9, 0.8), (4, 16, 16), 0.5)
    assert old.labels == ("background", "spleen", "left lung")  # without `ignore`
    assert (old.orientation, old.transpose, old.padding) == ("as_stored", (0, 1, 2), 0.0)
    assert (old.mirror_axes, old.folds, old.skipping.foreground_voxels) == ((0, 1, 2), 1, 0)
    assert old.image_interpolation == Interpolation(order=3, order_across=0)
    assert old.logits_interpolation == Interpolation(order=1, order_across=0)
    hu = old.normalization
    assert (hu.clip_low_hu, hu.clip_high_hu, hu.mean_hu, hu.std_hu) == (-968.0, 312.0, 87.5, 131.25)
    assert old.network.features == (3, 6, 7)
    assert old.network.kernels == ((1, 3, 3), (1, 3, 3), (3, 3, 3))
    assert old.network.strides == ((1, 1, 1), (1, 2, 2), (2, 2, 2))
    assert old.network.convolutions_encoder == (2, 1, 2)
    assert old.network.convolutions_decoder == (2, 1)  # the plan counts from the lowest resolution up
    assert old.training == {
        "source": "nnU-Net",
        "dataset": "Dataset901_Old",
        "plans": "nnUNetPlans",
        "configuration": "3d_fullres",
        "trainer": "nnUNetTrainer",
        "folds": ["0"],
        "checkpoint": "checkpoint_final.pth",
    }
    plain = import_nnunet(PLAIN, tmp_path / "plain").spec
    assert (plain.orientation, plain.transpose, plain.mirror_axes, plain.patch) == ("RAS", (1, 0, 2), (), (8, 16, 8))
    residual = import_nnunet(RESIDUAL, tmp_path / "residual").spec
    assert residual.network.block == "residual"
    assert residual.image_interpolation == Interpolation(order=1)
    assert residual.logits_interpolation == Interpolation(order=1, order_across=0)
    assert read_model_file(tmp_path / "residual").spec == residual


def resample(**kwargs: object) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda plans, dataset: configuration(plans)["resampling_fn_data_kwargs"].update(kwargs)


def arch(**kwargs: object) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda plans, dataset: configuration(plans)["architecture"]["arch_kwargs"].update(kwargs)


def plan(**kwargs: object) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda plans, dataset: plans.update(kwargs)


def config(**kwargs: object) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda plans, dataset: configuration(plans).update(kwargs)


def data(**kwargs: object) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda plans, dataset: dataset.update(kwargs)


def circle(plans: dict[str, Any], dataset: dict[str, Any]) -> None:
    plans["configurations"]["base"]["inherits_from"] = "3d_fullres"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (config(normalization_schemes=["ZScoreNormalization"]), "normalization ZScoreNormalization"),
        (config(previous_stage="3d_lowres"), "cascade .* '3d_lowres'"),
        (config(preprocessor_name="Own"), "preprocessor_name 'Own'"),
        (config(spacing=[1.0, 1e-300, 1.0]), "spacing_mm"),
        (
            config(resampling_fn_probabilities="no_resampling_hack"),
            "resampling of probabilities by 'no_resampling_hack'",
        ),
        (config(resampling_fn_probabilities_kwargs={"order": 3}), "resampling of probabilities of order 3"),
        (resample(force_separate_z=True), "plane by plane"),
        (resample(separate_z_anisotropy_threshold=2), "anisotropy_threshold 2"),
        (resample(order=9), "order of 0 to 5"),
        (plan(image_reader_writer="Tiff3DIO"), "image_reader_writer 'Tiff3DIO'"),
        (plan(label_manager="Other"), "label_manager 'Other'"),
        (plan(foreground_intensity_properties_per_channel={}), "KeyError: '0'"),
        (plan(transpose_forward=[0, 0, 1]), "transpose"),
        (plan(configurations={}), "no configuration '3d_fullres'"),
        (circle, "circle: 3d_fullres -> base -> 3d_fullres"),
        (data(channel_names={"0": "CT", "1": "PET"}), r"2 input channels \(CT, PET\)"),
        (data(labels={"background": 0, "whole": [1, 2], "core": 2}), "label 'whole' is a region"),
        (data(labels={"background": 0, "liver": 2}), r"label codes \[0, 2\]"),
        (data(labels={"background": 0, "liver": 1, "hepar": 1}), "one name for each"),
        (data(labels={f"l{code}": code for code in range(300)}), "between 2 and 255"),
        (data(labels=7), "AttributeError"),
        (arch(conv_op="torch.nn.modules.conv.Conv2d"), "conv_op 'Conv2d'"),
        (arch(norm_op="torch.nn.modules.batchnorm.BatchNorm3d"), "norm_op 'BatchNorm3d'"),
        (arch(norm_op_kwargs={"eps": 1e-3}), "eps of norm_op 0.001"),
        (arch(nonlin="torch.nn.ReLU"), "nonlin 'ReLU'"),
        (arch(nonlin_kwargs={"negative_slope": 0.2}), "negative_slope of nonlin 0.2"),
        (arch(nonlin_first=True), "nonlin_first True"),
        (arch(squeeze_excitation=True), "'squeeze_excitation'"),
        (arch(n_stages=10**9), "1000000000 stages"),
        (arch(features_per_stage=[3, 5, 10**9]), "features .* 1 to 8192"),
        (arch(n_conv_per_stage=[1, 2, 10**6]), "convolutions .* 1 to 64"),
        (arch(n_conv_per_stage=[1, 2, 0]), "convolutions .* 1 to 64"),
        (arch(kernel_sizes=[[3, 3, 3], [3, -1, 3], [3, 3, 3]]), "kernels .* 1 to 31"),
        (arch(kernel_sizes=[[3, 3, 3], [3, 2, 3], [3, 3, 3]]), "kernels must be odd"),
        (arch(strides=[[1, 1, 1], [0, 2, 1], [1, 2, 2]]), "strides .* 1 to 31"),
    ],
)
def test_what_cannot_be_run_is_named_in_one_line(
    change: Callable[[dict[str, Any], dict[str, Any]], None], says: str, tmp_path: Path
) -> None:
    folder = changed(PLAIN, tmp_path / "model", change)
    with pytest.raises(SpecError, match=says) as caught:
        import_nnunet(folder, tmp_path / "new")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (config(patch_size=[16, 16]), "2d configuration"),
        (config(patch_size=[2**22, 16, 16]), "more than"),
        (config(patch_size=[5, 16, 16]), "multiple of"),
        (config(UNet_class_name="os.system"), "architecture 'os.system'"),
        (config(UNet_base_num_features=0), "features"),
    ],
)
def test_plans_of_the_old_style_are_checked_alike(
    change: Callable[[dict[str, Any], dict[str, Any]], None], says: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=says):
        import_nnunet(changed(OLD, tmp_path / "model", change), tmp_path / "new")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (arch(network_class_name="x"), "which no network here has"),
        (arch(block="BottleneckD"), "block 'BottleneckD'"),
        (arch(stem_channels=9), "stem_channels 9"),
        (arch(n_blocks_per_stage=[1, 2, 1, 1]), r"encoder\.stages\.2\.blocks\.1\S+ belongs to no layer"),
        (arch(n_blocks_per_stage=[1, 2, 3, 1]), r"encoder\.stages\.2\.blocks\.2\S+ is missing"),
        (arch(features_per_stage=[3, 5, 7, 7]), "size mismatch"),
        (data(labels={"background": 0, "liver": 1}), "size mismatch"),
        (
            lambda plans, _: configuration(plans)["architecture"].update(network_class_name="evil.ResidualEncoderUNet"),
            "evil",
        ),
    ],
)
def test_a_network_that_the_plan_does_not_describe_is_refused(
    change: Callable[[dict[str, Any], dict[str, Any]], None], says: str, tmp_path: Path
) -> None:
    with pytest.raises(FlareError, match=says):
        import_nnunet(changed(RESIDUAL, tmp_path / "model", change), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_names_in_a_plan_are_never_paths(tmp_path: Path) -> None:
    folder = changed(PLAIN, tmp_path / "model", plan(dataset_name="/etc/Dataset1", plans_name="../../plans"))
    training = import_nnunet(folder, tmp_path / "new").spec.training
    assert (training["dataset"], training["plans"]) == ("Dataset1", "plans")


def test_weights_that_share_memory_or_lie_in_another_order_are_stored_plainly(tmp_path: Path) -> None:
    folder = changed(PLAIN, tmp_path / "model", plan())
    path = folder / "fold_all" / "checkpoint_final.pth"
    weights = dict(read_checkpoint(path).weights)
    one, other = (f"encoder.stages.1.0.convs.{index}.conv.weight" for index in (0, 1))
    last = "encoder.stages.2.0.convs.0.conv.weight"
    both = torch.cat((weights[one].flatten(), weights[other].flatten()))
    count = weights[one].numel()
    weights[one], weights[other] = both[:count].view_as(weights[one]), both[count:].view_as(weights[other])
    weights[last] = weights[last].to(memory_format=torch.channels_last_3d)
    assert not weights[last].is_contiguous()
    torch.save({"network_weights": weights}, path)
    import_nnunet(folder, tmp_path / "new", ImportOptions(configuration="3d_fullres"))
    batch, expected = truth(PLAIN)
    with torch.inference_mode():
        torch.testing.assert_close(load_model(tmp_path / "new", CPU)[1](batch), expected, atol=1e-5, rtol=1e-5)


def test_linear_in_the_plane_and_across_is_trilinear(tmp_path: Path) -> None:
    folder = changed(PLAIN, tmp_path / "model", resample(order=1, order_z=1))
    assert import_nnunet(folder, tmp_path / "new").spec.image_interpolation == Interpolation(order=1)


def test_old_names_of_intensities_and_single_numbers_for_all_stages(tmp_path: Path) -> None:
    def change(plans: dict[str, Any], dataset: dict[str, Any]) -> None:
        intensities = plans.pop("foreground_intensity_properties_per_channel")
        plans["foreground_intensity_properties_by_modality"] = intensities
        dataset["modality"] = dataset.pop("channel_names")
        del plans["label_manager"]
        configuration(plans)["architecture"]["arch_kwargs"].update(n_conv_per_stage_decoder=[2, 1], dropout_op=None)

    before = import_nnunet(PLAIN, tmp_path / "before").spec
    after = import_nnunet(changed(PLAIN, tmp_path / "model", change), tmp_path / "before2").spec
    assert (after.normalization, after.network) == (before.normalization, before.network)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A data set's folder with two configurations, folds of all kinds, and an entry that is no fold."""
    folder = tmp_path / "Dataset901_Old"
    shutil.copytree(OLD, folder)
    model = model_folder(folder)
    shutil.copytree(model / "fold_0", model / "fold_all")
    shutil.copytree(model / "fold_0", model / "fold_10")
    shutil.copytree(model / "fold_0", model / "fold_x")
    (model / "fold_1" / "checkpoint_final.pth").rename(model / "fold_1" / "checkpoint_best.pth")
    shutil.copy(model / "fold_0" / "checkpoint_final.pth", model / "fold_0" / "checkpoint_best.pth")
    shutil.copytree(model, folder / "nnUNetTrainer__nnUNetPlans__3d_lowres")
    return folder


def test_a_choice_is_made_or_asked_for(results: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected one model, found \S+3d_fullres, \S+3d_lowres"):
        import_nnunet(results, tmp_path / "new")
    made = import_nnunet(results, tmp_path / "new", ImportOptions(configuration="3d_fullres"))
    assert (made.folds, made.left, made.checkpoint) == (("0",), ("1", "10", "all"), "checkpoint_final.pth")
    with pytest.raises(UsageError, match="holds a model already"):
        import_nnunet(results, tmp_path / "new", ImportOptions(configuration="3d_fullres"))
    with pytest.raises(UsageError, match="configuration 2d"):
        import_nnunet(results, tmp_path / "other", ImportOptions(configuration="2d"))
    with pytest.raises(UsageError, match="is a model of configuration 3d_fullres, not of 3d_lowres"):
        import_nnunet(results, tmp_path / "other", ImportOptions(configuration="3d_lowres"))


def test_folds_are_averaged_at_one_stage_of_their_training(results: Path, tmp_path: Path) -> None:
    def take(*folds: str) -> str:
        options = ImportOptions(configuration="3d_fullres", folds=folds)
        return import_nnunet(results, tmp_path / "-".join(folds), options).checkpoint

    assert take("1") == "checkpoint_best.pth"
    assert take("0", "1") == "checkpoint_best.pth"
    assert take("all", "0") == "checkpoint_final.pth"
    with pytest.raises(WeightsError, match="folds 10, 1 have neither all"):
        take("10", "1")
    for fold in ("7", "x", "../fold_0"):
        with pytest.raises(UsageError, match="no weights of fold"):
            take(fold)


def test_the_latest_checkpoint_is_taken_where_there_is_no_other(results: Path, tmp_path: Path) -> None:
    model = results / "nnUNetTrainer__nnUNetPlans__3d_lowres"

    def only_latest(fold: str) -> None:
        for other in ("checkpoint_best.pth", "checkpoint_final.pth"):
            with suppress(FileNotFoundError):
                (model / f"fold_{fold}" / other).rename(model / f"fold_{fold}" / "checkpoint_latest.pth")

    only_latest("0")
    made = import_nnunet(model, tmp_path / "other")
    assert (made.folds, made.checkpoint) == (("1",), "checkpoint_best.pth"), "a fold that has ended comes first"
    assert import_nnunet(model, tmp_path / "asked", ImportOptions(folds=("0",))).checkpoint == "checkpoint_latest.pth"
    with pytest.raises(WeightsError, match="folds 0, 1 have neither all"):
        import_nnunet(model, tmp_path / "both", ImportOptions(folds=("0", "1")))
    for fold in ("1", "10", "all"):
        only_latest(fold)
    result = CliRunner().invoke(app, ["import-nnunet", str(model), str(tmp_path / "new")])
    assert result.exit_code == 0
    assert "fold 0, checkpoint_latest.pth" in result.stdout
    assert "checkpoint_latest.pth is all there is: its training has not ended" in result.stderr
    assert (tmp_path / "new" / "model.safetensors").read_bytes() == (
        tmp_path / "asked" / "model.safetensors"
    ).read_bytes()


def test_folders_that_are_no_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found no folder"):
        import_nnunet(tmp_path / "missing", tmp_path / "new")
    with pytest.raises(UsageError, match=r"no plans\.json here"):
        import_nnunet(tmp_path, tmp_path / "new")
    folder = changed(PLAIN, tmp_path / "model", plan())
    (folder / "dataset.json").write_text("[" * 100_000)
    with pytest.raises(UsageError, match=r"dataset\.json: not readable as JSON"):
        import_nnunet(folder, tmp_path / "new")
    (folder / "dataset.json").unlink()
    with pytest.raises(UsageError, match=r"dataset\.json: missing"):
        import_nnunet(folder, tmp_path / "new")
    shutil.rmtree(folder / "fold_all")
    with pytest.raises(UsageError, match="no fold with weights"):
        import_nnunet(folder, tmp_path / "new")


def test_the_command(tmp_path: Path) -> None:
    def run(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["import-nnunet", *map(str, arguments)])
        return result.exit_code, " ".join(result.output.split())

    code, output = run(OLD, tmp_path / "all", "--fold", 0, "--fold", 1, "--no-mirroring", "--half")
    assert code == 0
    assert "all: 2 classes, fold 0, 1, checkpoint_final.pth" in output
    spec = read_model_file(tmp_path / "all").spec
    assert (spec.folds, spec.mirror_axes) == (2, ())
    code, output = run(OLD, tmp_path / "one")
    assert "not taken: fold 1" in output
    assert "8 passes a window" in output
    assert run(OLD, tmp_path / "turned", "--orientation", "RAS", "--window-step", 0.6)[0] == 0
    turned = read_model_file(tmp_path / "turned").spec
    assert (turned.orientation, turned.window_step) == ("RAS", 0.6)
    code, output = run(OLD, tmp_path / "upside down", "--orientation", "IAL")
    assert (code, "orientation must be one of LPS, RAS, as_stored, found 'IAL'" in output) == (2, True)
    half, whole = (tmp_path / name / "model.safetensors" for name in ("all", "one"))
    assert half.stat().st_size < 1.3 * whole.stat().st_size  # two folds of half precision beside one of single
    code, output = run(MODELS, tmp_path / "none")
    assert code == 2
    assert output.startswith("error: ")
    assert json.loads((tmp_path / "one" / "model.json").read_text())["window_step"] == 0.5


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"trainer_name": "nnUNetTrainerNoMirroring"}, "trained by nnUNetTrainerNoMirroring as 3d_fullres"),
        ({"init_args": {"configuration": "3d_lowres", "fold": 1}}, "trained by nnUNetTrainer as 3d_lowres"),
    ],
    ids=["trainer", "configuration"],
)
def test_folds_of_different_trainings_are_not_averaged(tmp_path: Path, other: dict[str, Any], says: str) -> None:
    folder = changed(OLD, tmp_path / "model", plan())
    path = folder / "fold_1" / "checkpoint_final.pth"
    known = read_checkpoint(path)
    content = {
        "network_weights": dict(known.weights),
        "init_args": {"configuration": known.configuration, "fold": 1},
        "trainer_name": known.trainer,
        "inference_allowed_mirroring_axes": list(known.mirror_axes),
    }
    torch.save(content | other, path)
    with pytest.raises(WeightsError, match=f"fold_1.*{says}, the first fold by nnUNetTrainer as 3d_fullres"):
        import_nnunet(folder, tmp_path / "new", ImportOptions(folds=("0", "1")))
    assert not (tmp_path / "new").exists()
    assert import_nnunet(folder, tmp_path / "one").folds == ("0",)
