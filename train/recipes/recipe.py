"""Recipes: all settings that determine a training run."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Final, Self, get_args

from flare_infer import labels
from flare_infer.errors import SpecError
from flare_infer.files.record import fields_to_write, record_from_fields
from flare_infer.geometry import Shape
from flare_infer.label_set import LabelSet
from flare_infer.model.architecture import Network
from flare_infer.model.spec import ModelSpec, Normalization
from train.augment.chain import Augmentation
from train.augment.intensity import IntensityAugmentation
from train.augment.spatial import SpatialAugmentation
from train.dataset.clean import CleaningRules
from train.loss.partial import PartialLoss
from train.recipes.schedule import Optimization
from train.recipes.validation import Validation
from train.sampling.sampler import Sampling


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """All settings of one training run.

    Attributes:
        spec: specification of the model; its `untrained` is filled in on export.
        batch: number of patches in a step.
        steps: number of steps of the whole run; the learning rate reaches zero after the last one.
        seed: seed of all random numbers.
        sampling: how cases and positions of patches are drawn.
        augmentation: random changes of the patches.
        optimization: optimizer and learning rate.
        class_weights: weight of each class, background first, in the cross-entropy; None weights all voxels equally.
        partial_loss: treatment of classes that a case does not annotate: the paper's merge-max, or a baseline.
        cutmix: whether tumor objects are pasted into cases without labeled tumors.
        cleaning: whether labels are cleaned before cases are prepared and tumor objects cut out; validation cases are
            never cleaned.
        unlabeled: whether cases that have pseudo labels only are trained on, too.
        cleaning_rules: limits of the cleaning rules.
        validation: how often the network is validated during training.

    Four fields switch the paper's contributions separately: partial_loss, cutmix, cleaning and unlabeled. The default
    of a field that is added later is the behavior of earlier versions, so that older runs continue; `validation` may
    change when a run is continued.
    """

    spec: ModelSpec
    batch: int
    steps: int
    seed: int = 2023
    sampling: Sampling = field(default_factory=Sampling)
    augmentation: Augmentation = field(default_factory=Augmentation)
    optimization: Optimization = field(default_factory=Optimization)
    class_weights: tuple[float, ...] | None = None
    partial_loss: PartialLoss = "merge_max"
    cutmix: bool = False
    cleaning: bool = False
    unlabeled: bool = False
    cleaning_rules: CleaningRules = field(default_factory=CleaningRules)
    validation: Validation = field(default_factory=Validation)

    def __post_init__(self) -> None:
        if self.class_weights is not None and len(self.class_weights) != self.spec.classes:
            raise SpecError(f"expected one class weight for each of {self.spec.classes} labels, background included")
        if self.spec.own_labels is not None or self.spec.labels == labels.NAMES:
            self.cleaning_rules.check(self.spec.label_set)
        if self.batch < 1 or self.steps < 1:
            raise SpecError(
                f"a recipe needs at least one step of at least one patch, found {self.steps} of {self.batch}"
            )
        if self.partial_loss not in get_args(PartialLoss):
            raise SpecError(f"partial_loss must be one of {', '.join(get_args(PartialLoss))}: {self.partial_loss!r}")
        if self.seed < 0:
            raise SpecError(f"seed must be a whole number from 0 on, found {self.seed}")

    @property
    def label_cleaning(self) -> CleaningRules | None:
        """The rules by which labels are cleaned before they are prepared; None if they are not cleaned."""
        return self.cleaning_rules if self.cleaning else None

    def to_json(self) -> str:
        """The recipe as JSON text; recipes with equal texts give equal runs."""
        return json.dumps(fields_to_write(self), sort_keys=True)

    def for_labels(self, label_set: LabelSet) -> Self:
        """The same recipe for another label set.

        Weights of classes are kept where a class has the same meaning, and cleaning needs the set's own organs.
        """
        if label_set == self.spec.label_set:
            return self
        spec = dataclasses.replace(self.spec, labels=label_set.names, own_labels=label_set)
        weights = self.class_weights
        if weights is not None:
            known = {name: self.spec.label_set.code_of(name) for name in label_set.names}
            weights = tuple(weights[code] if (code := known[name]) is not None else 1.0 for name in label_set.names)
        rules = dataclasses.replace(self.cleaning_rules, organs_needed=label_set.organs)
        return dataclasses.replace(self, spec=spec, class_weights=weights, cleaning_rules=rules)


def recipe_from_json(text: str) -> TrainingRecipe:
    """The recipe whose `to_json` this is; fields that a later version added have their defaults.

    Raises:
        SpecError: if the text is not a recipe.
    """
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise SpecError(f"not a recipe: {error}") from error
    return record_from_fields(TrainingRecipe, fields)


def coarse() -> TrainingRecipe:
    """The paper's coarse model (Table 2 and section 2 of the paper; docs/paper.md says where each number is from).

    1200 epochs of 250 steps; spacing 2.5 x 1.5 x 1.5 mm, patch 32 x 192 x 192, batch 4; CutMix, cleaned labels, and the
    pseudo labels of unlabeled cases where the dataset has any.
    """
    return TrainingRecipe(
        spec=ModelSpec(
            name="coarse",
            spacing_mm=(2.5, 1.5, 1.5),
            patch=(32, 192, 192),
            normalization=Normalization(clip_low_hu=-934.0, clip_high_hu=276.0, mean_hu=78.691, std_hu=128.488),
            network=isotropic_network((32, 64, 128, 256, 320, 320)),
        ),
        batch=4,
        steps=1200 * 250,
        sampling=Sampling(type_sampling="proportional", organ_center_keep=0.2),
        augmentation=Augmentation(
            spatial=SpatialAugmentation(elastic_probability=0.2),
            intensity=IntensityAugmentation(noise_deviation=0.1, blur=0.1, low_resolution=0.125),
        ),
        cutmix=True,
        cleaning=True,
        unlabeled=True,
        validation=Validation(every_steps=10 * 250),
    )


def fine() -> TrainingRecipe:
    """The paper's fine model, which labels what the coarse one learns from (docs/paper.md, Protocol).

    The same network at 2.5 x 0.82 x 0.82 mm, on the partially labeled cases as they are, for 2000 epochs of 250 steps:
    cleaning comes before the coarse model's training only, and unlabeled cases get their labels from this one.
    """
    model = coarse()
    return dataclasses.replace(
        model,
        spec=dataclasses.replace(model.spec, name="fine", spacing_mm=(2.5, 0.82, 0.82)),
        steps=2000 * 250,
        sampling=Sampling(type_sampling="proportional"),
        cutmix=False,
        cleaning=False,
        unlabeled=False,
        validation=Validation(every_steps=20 * 250),
    )


def lite(steps: int = 3000) -> TrainingRecipe:
    """A U-Net of the same shape with fewer features at 4 mm, for the CPU: trained in about an hour on two cores.

    It differs from the paper where few data or a short run require it: AdamW instead of SGD, patches drawn by class,
    weights for small organs, no mirroring, milder rotation and scaling, intensities clipped to soft tissue.
    """
    return TrainingRecipe(
        spec=ModelSpec(
            name="lite",
            spacing_mm=(4.0, 4.0, 4.0),
            patch=(48, 80, 80),
            normalization=Normalization(clip_low_hu=-200.0, clip_high_hu=300.0, mean_hu=50.0, std_hu=100.0),
            network=isotropic_network((16, 32, 64, 128, 192)),
        ),
        batch=2,
        steps=steps,
        sampling=Sampling(balance=0.5, jitter=0.25),
        augmentation=Augmentation(
            spatial=SpatialAugmentation(
                rotation_degrees=15.0,
                rotation_probability=0.4,
                scale_low=0.8,
                scale_high=1.25,
                scale_probability=0.4,
                mirror_axes=(),
            )
        ),
        optimization=Optimization(method="adamw", learning_rate=1.5e-3, weight_decay=1e-2, warmup=100),
        class_weights=tuple(_SMALL_ORGAN_WEIGHTS.get(code, 1.0) for code in range(len(labels.NAMES))),
    )


_SMALL_ORGAN_WEIGHTS: Final = {
    labels.PANCREAS: 3.0,
    labels.INFERIOR_VENA_CAVA: 3.0,
    labels.RIGHT_ADRENAL_GLAND: 10.0,
    labels.LEFT_ADRENAL_GLAND: 10.0,
    labels.GALLBLADDER: 3.0,
    labels.ESOPHAGUS: 5.0,
    labels.STOMACH: 2.0,
    labels.DUODENUM: 5.0,
    labels.TUMOR: 2.0,
}
"""Soft Dice alone does not learn a class of a hundred voxels: near probability zero its gradient is zero, too."""


def smoke(steps: int = 2) -> TrainingRecipe:
    """A tiny model of the same parts that trains in a second, for tests only."""
    return TrainingRecipe(
        spec=dataclasses.replace(
            lite().spec,
            name="smoke",
            spacing_mm=(8.0, 8.0, 8.0),
            patch=(16, 16, 16),
            network=isotropic_network((4, 8, 8)),
        ),
        batch=2,
        steps=steps,
        optimization=Optimization(learning_rate=1e-3, momentum=0.9),
    )


def isotropic_network(features: tuple[int, ...]) -> Network:
    """Two 3 x 3 x 3 convolutions a stage, every stage half the size of the one before (docs/paper.md, Network)."""
    cube: Shape = (3, 3, 3)
    half: Shape = (2, 2, 2)
    stages = len(features)
    return Network(
        features=features,
        kernels=(cube,) * stages,
        strides=((1, 1, 1), *(half,) * (stages - 1)),
        convolutions_encoder=(2,) * stages,
        convolutions_decoder=(2,) * (stages - 1),
    )
