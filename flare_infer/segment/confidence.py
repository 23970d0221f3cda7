"""How sure a network is of what it finds, from its logits, on its own grid.

docs/statistics.md says what the numbers mean and how well they tell good outlines from bad ones.
"""

_LOOKED_AT: float = -2.0
