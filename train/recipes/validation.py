"""When and how a run is validated."""

from dataclasses import dataclass

from flare_infer.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class Validation:
    """How often the store's validation cases are segmented during training; without such cases never.

    These settings do not change what is learned, so a run may be continued with other values.

    Attributes:
        every_steps: number of steps between validations; the last step is followed by one, too; 0 never validates. The
            default is an epoch of the paper.
        mean_keeps: weight of the previous exponential mean when a new score is added (0.9; docs/paper.md, Choice of the
            checkpoint).
        pictured_cases: number of validation cases that are drawn each time.
    """

    every_steps: int = 250
    mean_keeps: float = 0.9
    pictured_cases: int = 3

    def __post_init__(self) -> None:
        if self.every_steps < 0 or self.pictured_cases < 0 or not 0 <= self.mean_keeps < 1:
            raise SpecError(
                f"validation needs every_steps and pictured_cases from 0 on and mean_keeps in [0, 1), found {self}"
            )

    def due(self, step: int, steps: int) -> bool:
        """Whether a run of `steps` steps is validated after `step` of them."""
        return self.every_steps > 0 and step > 0 and (step % self.every_steps == 0 or step == steps)

    def count(self, done: int, steps: int) -> int:
        """How many validations are still to come in a run of `steps` steps after `done` of them."""
        if self.every_steps == 0 or done >= steps:
            return 0
        return -(-steps // self.every_steps) - done // self.every_steps
