"""Every property, for a short while and the same each time; `python -m tests.fuzz` goes on for as long as you like."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

from tests.fuzz.properties import PROPERTIES

EXAMPLES = 40


@pytest.mark.parametrize("name", PROPERTIES)
def test_property(name: str) -> None:
    check: Callable[[], None] = PROPERTIES[name]
    drawn = settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    drawn(check)()
