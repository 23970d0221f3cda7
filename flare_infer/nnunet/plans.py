"""nnU-Net's plans.json and dataset.json to a specification: everything of a model but its weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flare_infer.errors import SpecError
from flare_infer.geometry import triple_of_floats, triple_of_ints
from flare_infer.model.spec import Interpolation, ModelSpec, Normalization, Orientation, Skipping
from flare_infer.nnunet.architecture import Architecture, read_architecture

_READERS: Final[Mapping[str, Orientation]] = {
    "SimpleITKIO": "as_stored",
    "NibabelIO": "as_stored",
    "NibabelIOWithReorient": "RAS",
}
_MALFORMED: Final = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError)
_THICK: Final = 3
"""nnU-Net's threshold of anisotropy, which `spline` and `decode` share."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A trained model of nnU-Net, as its results folder and checkpoints describe it.

    Attributes:
        plans: content of plans.json.
        dataset: content of dataset.json.
        configuration: name of the configuration it is.
        folds: names of the folds to average.
        trainer: name of its trainer.
        checkpoint: file name of the weights.
        mirror_axes: axes that its trainer allows to mirror.
    """

    plans: Mapping[str, Any]
    dataset: Mapping[str, Any]
    configuration: str
    folds: tuple[str, ...]
    trainer: str
    checkpoint: str
    mirror_axes: tuple[int, ...]


def read_plan(source: Source, name: str, window_step: float) -> tuple[ModelSpec, Architecture]:
    """The specification of a model that gives nnU-Net's own labels, and its architecture in full.

    Args:
        source: the model, as found on disk.
        name: name of the new model.
        window_step: distance between windows as a fraction of the patch; 0.5 is nnU-Net's default.

    Raises:
        SpecError: if the model cannot be run here; the text names what was found.
    """
    try:
        return _read_plan(source, name, window_step)
    except _MALFORMED as error:
        raise SpecError(f"plans.json or dataset.json is not nnU-Net's ({type(error).__name__}: {error})") from error


def _read_plan(source: Source, name: str, window_step: float) -> tuple[ModelSpec, Architecture]:
    plans = source.plans
    configuration = _resolved(plans["configurations"], source.configuration)
    _refuse_other_pipelines(plans, source.dataset, configuration)
    architecture = read_architecture(configuration)
    spec = ModelSpec(
        name=name,
        spacing_mm=triple_of_floats(configuration["spacing"]),
        patch=triple_of_ints(configuration["patch_size"]),
        window_step=window_step,
        normalization=_normalization(plans, configuration),
        network=architecture.network,
        labels=_labels(source.dataset),
        orientation=_READERS[plans["image_reader_writer"]],
        transpose=triple_of_ints(plans["transpose_forward"]),
        image_interpolation=_interpolation(configuration, "data"),
        logits_interpolation=_interpolation(configuration, "probabilities"),
        padding=0.0,  # nnU-Net pads after normalization
        mirror_axes=source.mirror_axes,
        folds=len(source.folds),
        skipping=Skipping(foreground_voxels=0),
        body_only=False,
        repeated_mm=0.0,
        training={
            "source": "nnU-Net",
            "dataset": _bare(plans.get("dataset_name", "")),
            "plans": _bare(plans.get("plans_name", "")),
            "configuration": source.configuration,
            "trainer": _bare(source.trainer),
            "folds": list(source.folds),
            "checkpoint": source.checkpoint,
        },
    )
    return spec, architecture


def _resolved(configurations: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A configuration over all those that it inherits from."""
    chain: list[str] = []
    result: dict[str, Any] = {}
    while name not in chain:
        if name not in configurations:
            raise SpecError(f"plans.json has no configuration {name!r}, but {', '.join(configurations)}")
        chain.append(name)
        result = {**configurations[name], **result}
        if "inherits_from" not in configurations[name]:
            return result
        name = configurations[name]["inherits_from"]
    raise SpecError(f"plans.json: configurations inherit from each other in a circle: {' -> '.join([*chain, name])}")


def _refuse_other_pipelines(
    plans: Mapping[str, Any], dataset: Mapping[str, Any], configuration: Mapping[str, Any]
) -> None:
    """Refuse what this project cannot run as nnU-Net does."""
    if configuration.get("previous_stage") is not None:
        raise SpecError(f"a cascade that needs the result of {configuration['previous_stage']!r}; not supported")
    if len(configuration["patch_size"]) != 3:
        raise SpecError(f"a 2d configuration (patch {configuration['patch_size']}), expected a 3d one")
    channels = dataset.get("channel_names", dataset.get("modality", {}))
    if len(channels) != 1:
        raise SpecError(f"{len(channels)} input channels ({', '.join(map(str, channels.values()))}), expected one: CT")
    for name, found, expected in (
        ("image_reader_writer", plans["image_reader_writer"], tuple(_READERS)),
        ("preprocessor_name", configuration.get("preprocessor_name", "DefaultPreprocessor"), ("DefaultPreprocessor",)),
        ("label_manager", plans.get("label_manager", "LabelManager"), ("LabelManager",)),
    ):
        if found not in expected:
            raise SpecError(f"{name} {found!r}, expected {' or '.join(expected)}")


def _normalization(plans: Mapping[str, Any], configuration: Mapping[str, Any]) -> Normalization:
    schemes = list(configuration["normalization_schemes"])
    if schemes != ["CTNormalization"]:
        raise SpecError(f"normalization {', '.join(map(str, schemes))}, expected CTNormalization of one channel")
    old_name = "foreground_intensity_properties_by_modality"
    channels = plans.get("foreground_intensity_properties_per_channel", plans.get(old_name, {}))
    numbers = channels["0"]
    return Normalization(
        clip_low_hu=float(numbers["percentile_00_5"]),
        clip_high_hu=float(numbers["percentile_99_5"]),
        mean_hu=float(numbers["mean"]),
        std_hu=max(float(numbers["std"]), 1e-8),
    )


def _labels(dataset: Mapping[str, Any]) -> tuple[str, ...]:
    """Names by output channel; the label `ignore` has none."""
    names: dict[int, str] = {}
    if all(key.isdigit() and isinstance(value, str) for key, value in dataset["labels"].items()):
        raise SpecError("labels are written as nnU-Net's version 1 has them, code: name; expected name: code")
    for name, value in dataset["labels"].items():
        values = value if isinstance(value, list) else [value]
        if len(values) != 1:
            raise SpecError(f"label {name!r} is a region of {value}, expected one code for each label")
        if name != "ignore":
            names[int(values[0])] = name
    if sorted(names) != list(range(len(names))) or len(names) + ("ignore" in dataset["labels"]) != len(
        dataset["labels"]
    ):
        raise SpecError(f"label codes {sorted(names)}, expected 0 (background), 1, 2 and so on, one name for each")
    return tuple(names[code] for code in range(len(names)))


def _interpolation(configuration: Mapping[str, Any], what: str) -> Interpolation:
    """How images ("data") or logits ("probabilities") are resampled."""
    function = configuration[f"resampling_fn_{what}"]
    options = dict(configuration[f"resampling_fn_{what}_kwargs"])
    spline, torch_like, simple = "resample_data_or_seg_to_shape", "resample_torch_fornnunet", "resample_torch_simple"
    if function not in {spline, torch_like, simple}:
        raise SpecError(f"resampling of {what} by {function!r}, expected {spline}, {torch_like} or {simple}")
    expected = {
        "is_seg": False,
        "separate_z_anisotropy_threshold": _THICK,
        "mode": "linear",
        "aniso_axis_mode": "nearest-exact",
    }
    for option, value in expected.items():
        if options.get(option, value) != value:
            raise SpecError(f"resampling of {what} with {option} {options[option]!r}, expected {value!r}")
    if function == simple:
        return Interpolation(order=1)
    # The two functions differ in what they do if the plan says nothing.
    separate = options.get("force_separate_z", None if function == torch_like else False)
    if separate:
        raise SpecError(f"resampling of {what} always plane by plane (force_separate_z), expected null or false")
    order, across = (1, 0) if function == torch_like else (int(options.get("order", 3)), int(options.get("order_z", 0)))
    if what == "probabilities" and order != 1:
        raise SpecError(f"resampling of {what} of order {order}, expected 1")
    # Linear in the plane and across planes is trilinear, whatever the spacing.
    apart = separate is None and (order, across) != (1, 1)
    return Interpolation(order=order, order_across=across if apart else None)


def _bare(name: object) -> str:
    """A name without the folders that it may carry."""
    return str(name).replace("\\", "/").rpartition("/")[2]
