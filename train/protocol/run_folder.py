"""Where the results of a pipeline lie in its run folder.

::

    RUN/config.toml         as it was given                RUN/recipes/    what is changed in recipes, a file a run
    RUN/versions.json       of everything installed        RUN/stamps/     what went into each stage
    RUN/fine/               the fine model                 RUN/logs/       what each stage said
    RUN/pseudo/             the fine model's label maps, uncertainty, selection
    RUN/merged/             the training dataset of the coarse model
    RUN/cleaned/            what cleaning finds in it
    RUN/coarse/             the coarse model; coarse/weights is what this is all for
    RUN/test/NAME/          label maps and scores of a set of test cases
    RUN/tables/ RUN/pictures/    those of all stages side by side
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """The folders of a run.

    Attributes:
        run: the run folder.
        first_seed: of the fine models; the folders of others have their seeds in their names, so that a seed that is
            added later changes nothing about the first.
    """

    run: Path
    first_seed: int

    def fine(self, kind: str, seed: int | None = None) -> Path:
        """A folder of the fine model: store, run or weights."""
        return self.run / "fine" / f"{kind}{self.ending(seed)}"

    def coarse(self, kind: str) -> Path:
        """A folder of the coarse model: store, objects, run or weights."""
        return self.run / "coarse" / kind

    def pseudo(self, kind: str, seed: int | None = None) -> Path:
        """A folder of what experts did not label: to_fill, filling, unlabeled, uncertainty or selection."""
        return self.run / "pseudo" / f"{kind}{self.ending(seed)}"

    def test(self, name: str, kind: str) -> Path:
        """A folder of a set of test cases: labels or scores."""
        return self.run / "test" / name / kind

    def recipe(self, model: str, seed: int | None = None) -> Path:
        """The file with what is changed in a recipe."""
        return self.run / "recipes" / f"{model}{self.ending(seed)}.toml"

    def ending(self, seed: int | None) -> str:
        """What tells the fine models apart in names."""
        return "" if seed in (None, self.first_seed) else f"-{seed}"
