"""`python -m tests.fuzz --minutes 10 --seed 1`: every property with ever new seeds, and a table of what was tried.

A failure prints the smallest example that was found, and the command that finds it again.
"""

import argparse
import sys
import time
import traceback

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings

from tests.fuzz import geometry, headers, models, windows

EXAMPLES = 200
"""Of a property, before the next one has its turn."""

PROPERTIES = {
    f"{module.__name__.rpartition('.')[2]}: {check.__name__}": check
    for module in (geometry, headers, models, windows)
    for check in module.PROPERTIES
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Property-based tests, for as long as you like.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1, help="of the first round; each round takes the next")
    arguments = parser.parse_args()
    tried = dict.fromkeys(PROPERTIES, 0)
    failures: dict[str, int] = {}
    end = time.monotonic() + 60 * arguments.minutes
    number = arguments.seed
    while time.monotonic() < end:
        for name, check in PROPERTIES.items():
            if name not in failures and time.monotonic() < end:
                if not _holds(check, number):
                    failures[name] = number
                tried[name] += EXAMPLES
        number += 1
    print(f"\n{'property':42} {'examples':>9}  result")
    for name, count in tried.items():
        print(f"{name:42} {count:9}  {f'FAILED with --seed {failures[name]}' if name in failures else 'held'}")
    print(
        f"{sum(tried.values())} examples, {len(failures)} of {len(tried)} properties failed, seeds from {arguments.seed}"
    )
    return 1 if failures else 0


def _holds(check: object, number: int) -> bool:
    drawn = settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        verbosity=Verbosity.normal,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    try:
        drawn(seed(number)(check))()  # type: ignore[operator, arg-type]
    except Exception:  # noqa: BLE001 - whatever a property provokes is what is looked for
        traceback.print_exc()
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
