"""What a model is, in numbers: the record behind model.json."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from flare_infer import labels
from flare_infer.errors import SpecError
from flare_infer.geometry import Shape, Spacing, triple_of_floats, triple_of_ints

FORMAT: Final = 1
"""Version of the model.json layout; a reader refuses others."""

SPEC_FILE: Final = "model.json"


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """Clip to a range of Hounsfield units, then subtract a mean and divide by a standard deviation."""

    clip_low_hu: float
    clip_high_hu: float
    mean_hu: float
    std_hu: float

    def __post_init__(self) -> None:
        if not self.clip_low_hu < self.clip_high_hu or not self.std_hu > 0:
            raise SpecError(f"normalization needs clip_low_hu < clip_high_hu and std_hu > 0, found {self}")

    @property
    def air(self) -> float:
        """The normalized intensity of air: what fills the outside of a volume."""
        return (self.clip_low_hu - self.mean_hu) / self.std_hu


@dataclass(frozen=True, kw_only=True)
class Network:
    """A plain-convolution U-Net (nnU-Net's architecture) in numbers, one entry per stage.

    Attributes:
        features: channels of each encoder stage, from full resolution down.
        kernels: kernel of each stage along (z, y, x); odd numbers.
        strides: stride of the first convolution of each stage; that of the first stage is 1.
        convolutions_encoder: convolutions of each encoder stage.
        convolutions_decoder: convolutions of each decoder stage, from full resolution down; one fewer than stages.
    """

    features: tuple[int, ...]
    kernels: tuple[Shape, ...]
    strides: tuple[Shape, ...]
    convolutions_encoder: tuple[int, ...]
    convolutions_decoder: tuple[int, ...]

    def __post_init__(self) -> None:
        stages = len(self.features)
        lengths = (len(self.kernels), len(self.strides), len(self.convolutions_encoder))
        if stages < 2 or any(length != stages for length in lengths) or len(self.convolutions_decoder) != stages - 1:
            raise SpecError(
                f"a network of {stages} stages (at least 2) needs {stages} kernels, strides and convolutions_encoder "
                f"and {stages - 1} convolutions_decoder, found {(*lengths, len(self.convolutions_decoder))}"
            )
        if any(size % 2 == 0 for kernel in self.kernels for size in kernel):
            raise SpecError(f"kernels must be odd along every axis, found {self.kernels}")
        if self.strides[0] != (1, 1, 1):
            raise SpecError(f"the first stage keeps full resolution: stride (1, 1, 1), found {self.strides[0]}")

    @property
    def reduction(self) -> Shape:
        """By how much the deepest stage is smaller, along (z, y, x); a patch must be a multiple of it."""
        total = [1, 1, 1]
        for stride in self.strides:
            total = [old * new for old, new in zip(total, stride, strict=True)]
        return triple_of_ints(total)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Everything inference needs to know of a model besides its weights.

    Attributes:
        name: short name, that of its folder.
        spacing_mm: voxel spacing the network works at, along (z, y, x).
        patch: window size in voxels along (z, y, x).
        window_step: distance between windows as a fraction of the patch (0.6 in the released code).
        normalization: how Hounsfield units become network input.
        network: the architecture.
        labels: name of every output channel, background first; the index is the code written to label maps.
        untrained: codes that no training case annotated: never predicted.
        training: what the weights come from, for people; inference does not read it.
    """

    name: str
    spacing_mm: Spacing
    patch: Shape
    normalization: Normalization
    network: Network
    window_step: float = 0.6
    labels: tuple[str, ...] = labels.NAMES
    untrained: tuple[int, ...] = ()
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.spacing_mm) <= 0 or not 0 < self.window_step <= 1:
            raise SpecError(f"{self.name}: spacing_mm must be positive and window_step in (0, 1]")
        if any(size <= 0 or size % factor for size, factor in zip(self.patch, self.network.reduction, strict=True)):
            raise SpecError(f"{self.name}: patch {self.patch} must be a multiple of {self.network.reduction}")
        if not 2 <= len(self.labels) <= labels.KNOWN_BACKGROUND:
            raise SpecError(f"{self.name}: expected between 2 and 255 labels, found {len(self.labels)}")
        if any(not 0 < code < len(self.labels) for code in self.untrained):
            raise SpecError(f"{self.name}: untrained names classes outside 1..{len(self.labels) - 1}: {self.untrained}")

    @property
    def classes(self) -> int:
        """Number of output channels, background included."""
        return len(self.labels)

    @property
    def predicted(self) -> tuple[int, ...]:
        """Codes that take part in the argmax: background and every trained class, in increasing order."""
        return tuple(code for code in range(self.classes) if code not in self.untrained)


def write_spec(spec: ModelSpec, directory: Path) -> None:
    """Write model.json into an existing directory."""
    content = {"format": FORMAT, **dataclasses.asdict(spec)}
    (directory / SPEC_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_spec(directory: Path) -> ModelSpec:
    """Read and check the model.json of a weights directory.

    Raises:
        SpecError: if the file is missing, is no JSON, has another format, or its fields are unknown or inconsistent.
    """
    path = directory / SPEC_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SpecError(f"{directory}: no {SPEC_FILE} here; name a folder that `flare-train export` wrote") from error
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise SpecError(f"{path}: expected a model of format {FORMAT}; it was written by another version")
    try:
        return spec_from_fields(content)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error


def spec_from_fields(fields: dict[str, Any]) -> ModelSpec:
    """A specification from plain JSON values, as `dataclasses.asdict` gives them.

    Raises:
        SpecError: if a field is missing, unknown, of the wrong type, or inconsistent with the others.
    """
    try:
        rest = dict(fields)
        network = dict(rest.pop("network"))
        return ModelSpec(
            normalization=Normalization(**rest.pop("normalization")),
            network=Network(
                features=tuple(network.pop("features")),
                kernels=tuple(triple_of_ints(kernel) for kernel in network.pop("kernels")),
                strides=tuple(triple_of_ints(stride) for stride in network.pop("strides")),
                convolutions_encoder=tuple(network.pop("convolutions_encoder")),
                convolutions_decoder=tuple(network.pop("convolutions_decoder")),
                **network,
            ),
            spacing_mm=triple_of_floats(rest.pop("spacing_mm")),
            patch=triple_of_ints(rest.pop("patch")),
            labels=tuple(rest.pop("labels")),
            untrained=tuple(rest.pop("untrained")),
            **rest,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SpecError(f"{type(error).__name__}: {error}; expected the fields of ModelSpec") from error
