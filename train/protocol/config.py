"""What a pipeline is asked to do: the records behind its TOML file.

docs/examples/pipeline.toml is such a file, with comments. Places are relative to the folder the file lies in.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from flare_eval.accuracy.mode import Mode
from flare_infer.errors import SpecError
from flare_infer.files.record import Record, field_problems, record_from_fields
from flare_infer.label_set import FLARE23, LabelSet
from train.config_file import changed_fields, overridden, read_toml
from train.dataset.label_mapping import dataset_label_set
from train.problems import raise_if_any
from train.pseudo.merge_plan import Fill
from train.recipes.choice import RecipeName, chosen_recipe
from train.recipes.recipe import TrainingRecipe

FINE: Final = "fine"
"""A source of predictions: the first of our own fine models. The others are fine-SEED."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the data lie.

    Attributes:
        dataset: the labeled cases, in nnU-Net's raw layout or the challenge's, with annotated.json.
        unlabeled: folder of CTs without labels; None if there are none.
    """

    dataset: Path
    unlabeled: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model to train.

    Attributes:
        recipe: name of the recipe.
        change: fields of the recipe to change, at any depth.
        normalization: dataset, from the foreground of the cases that train; recipe, its own numbers; auto, recipe where
            `change` states numbers or the cases were prepared with the recipe's before, and else dataset.
        seeds: one training run each; empty is one run with the recipe's own seed.
    """

    recipe: RecipeName
    change: dict[str, Any] = field(default_factory=dict)
    normalization: Literal["auto", "recipe", "dataset"] = "auto"
    seeds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.seeds)) != len(self.seeds):
            raise SpecError(f"seeds: each one once, found {list(self.seeds)}")

    def recipes(self, label_set: LabelSet = FLARE23) -> dict[int, tuple[TrainingRecipe, dict[str, Any]]]:
        """For each seed its recipe, and what that changes in the recipe of that name.

        Args:
            label_set: the classes of the dataset.

        Raises:
            SpecError: if a changed field is unknown or its value cannot be.
        """
        changes = [{**self.change, "seed": seed} for seed in self.seeds] or [self.change]
        made = [(overridden(chosen_recipe(self.recipe, label_set=label_set), change), change) for change in changes]
        return {recipe.seed: (recipe, change) for recipe, change in made}


@dataclass(frozen=True, kw_only=True)
class Pseudo:
    """How cases without expert labels are labeled and chosen (section 2.2 of the paper).

    Attributes:
        organs: sources of predictions that are compared in this order for the uncertainty of organs: `fine`,
            `fine-SEED` or a folder of label maps, such as another team's. Whatever their order, what is learned from
            are the labels of the first fine model.
        tumor: the same for the tumor.
        fill: which cases of experts get organs of the fine model: those that annotate tumor_only, all that are partial,
            or none.
        select: unlabeled cases to take, those with the least organ uncertainty.
        with_tumor: how many of them keep their tumors, those with the least tumor uncertainty.
    """

    organs: tuple[str, ...] = (FINE,)
    tumor: tuple[str, ...] = (FINE,)
    fill: Fill = "tumor_only"
    select: int = 1000
    with_tumor: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.with_tumor <= self.select:
            raise SpecError(f"with_tumor must lie between 0 and select ({self.select}), found {self.with_tumor}")


@dataclass(frozen=True, kw_only=True)
class Test:
    """A set of cases to measure the coarse model on.

    Attributes:
        name: of the folder for its results.
        images: folder of CTs.
        labels: folder of expert label maps; None predicts only.
        mode: official, the challenge's rules, which count every class in every case; or fixed.
    """

    __test__ = False  # for pytest, to which the name looks like tests

    name: str
    images: Path
    labels: Path | None = None
    mode: Literal["official", "fixed"] = Mode.OFFICIAL.value

    def __post_init__(self) -> None:
        if not self.name or self.name != Path(self.name).name:
            raise SpecError(f"a test's name is the name of a folder, found {self.name!r}")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where it runs; changes nothing in the results but roundings.

    Attributes:
        device: auto, cpu, cuda or cuda:N.
        workers: processes that prepare, clean and compare; each takes up to 3 GB for a long scan.
        gpus: processes that train together, one for each GPU.
    """

    device: str = "auto"
    workers: int = 1
    gpus: int = 1

    def __post_init__(self) -> None:
        if self.workers < 1 or self.gpus < 1:
            raise SpecError(f"workers and gpus must be at least 1, found {self.workers} and {self.gpus}")


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole pipeline of the paper's protocol.

    Attributes:
        protocol: which stages there are; the other protocols have configurations of their own.
        run: folder of everything it makes.
        data: where the data lie.
        fine: the model that labels cases.
        coarse: the model that is wanted.
        pseudo: how cases are labeled and chosen.
        test: sets of cases to measure it on.
        machine: where it runs.
    """

    protocol: Literal["paper", "lite"] = "paper"
    run: Path
    data: Data
    fine: Model = field(default_factory=lambda: Model(recipe="fine"))
    coarse: Model = field(default_factory=lambda: Model(recipe="coarse"))
    pseudo: Pseudo = field(default_factory=Pseudo)
    test: tuple[Test, ...] = ()
    machine: Machine = field(default_factory=Machine)

    @property
    def label_set(self) -> LabelSet:
        """The classes of the dataset, which is read.

        Raises:
            DatasetError: if it cannot be told.
        """
        return dataset_label_set(self.data.dataset)

    def __post_init__(self) -> None:
        names = [test.name for test in self.test]
        if len(set(names)) != len(names):
            raise SpecError(f"test: each name once, found {', '.join(names)}")
        if len(self.coarse.seeds) > 1:
            raise SpecError(f"coarse.seeds: one model at most, found {len(self.coarse.seeds)} seeds")


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Numbers of cases, known before anything starts.

    Attributes:
        labeled: cases with expert labels.
        lacking: of these, those whose organs are to be filled in.
        tumors: of these, those that train and annotate tumors.
        unlabeled: cases without labels.
        tests: of each set of test cases.
    """

    labeled: int
    lacking: int
    tumors: int
    unlabeled: int
    tests: Mapping[str, int] = field(default_factory=dict)


def read_config(path: Path) -> Config:
    """Read a pipeline's file; places in it become absolute.

    Raises:
        UsageError: if it is no readable TOML file.
        ProblemsError: naming every field that is unknown, missing or wrong, those of changed recipes included.
    """
    return _placed(checked_record(Config, path, ("fine", "coarse")), path.absolute().parent)


def checked_record(kind: type[Record], path: Path, models: Collection[str]) -> Record:
    """A record from a TOML file of which everything that is wrong is named at once.

    Args:
        kind: the record.
        path: the file.
        models: names of its fields that are models; the changes in their recipes are checked, too.

    Raises:
        UsageError: if it is no readable TOML file.
        ProblemsError: naming every field that is unknown, missing or wrong.
    """
    content = read_toml(path)
    problems = [*field_problems(kind, content), *_recipe_problems(content, models)]
    raise_if_any(f"{path}: {line}" for line in problems)
    return record_from_fields(kind, content)


def _recipe_problems(content: Mapping[str, Any], models: Collection[str]) -> list[str]:
    """What is wrong with the changes of recipes that can be named; their names are checked elsewhere."""
    lines: list[str] = []
    for name in models:
        table = content.get(name, {})
        change = table.get("change", {}) if isinstance(table, dict) else {}
        try:
            recipe = chosen_recipe(table.get("recipe"))
        except (KeyError, TypeError, AttributeError):
            continue
        if isinstance(change, dict):
            lines += field_problems(TrainingRecipe, changed_fields(recipe, change), f"{name}.change")
    return lines


def _placed(config: Config, folder: Path) -> Config:
    """The same with absolute places; of a source, whatever is not the name of a fine model is a place."""
    seeds = {f"{FINE}-{seed}" for seed in config.fine.recipes()} | {FINE}

    def sources(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name if name in seeds else str(folder / name) for name in names)

    def place(path: Path | None) -> Path | None:
        return None if path is None else folder / path

    pseudo = replace(config.pseudo, organs=sources(config.pseudo.organs), tumor=sources(config.pseudo.tumor))
    return replace(
        config,
        run=folder / config.run,
        data=Data(dataset=folder / config.data.dataset, unlabeled=place(config.data.unlabeled)),
        pseudo=pseudo,
        test=tuple(replace(test, images=folder / test.images, labels=place(test.labels)) for test in config.test),
    )
