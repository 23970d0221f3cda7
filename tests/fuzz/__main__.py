"""`python -m tests.fuzz --minutes 10 --seed 1`: every property with ever new seeds, and a table of what was tried.

A failure prints the smallest example that was found, and the command that finds it again.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, seed, settings

EXAMPLES = 200
"""Of a property, before the next one has its turn."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Property-based tests, for as long as you like.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1, help="of the first round; each further one adds 1")
    arguments = parser.parse_args()
    settings.register_profile(
        "long",
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("long")
    from tests.fuzz.properties import PROPERTIES  # a property keeps the profile that was loaded when it was made

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
        result = f"FAILED with --seed {failures[name]}" if name in failures else "held"
        print(f"{name:42} {count:9}  {result}")
    total, broken = sum(tried.values()), len(failures)
    print(f"{total} examples, seeds from {arguments.seed}; {broken} of {len(tried)} properties failed")
    return 1 if failures else 0


def _holds(check: Callable[[], None], number: int) -> bool:
    try:
        seed(number)(check)()
    except Exception:  # noqa: BLE001 - whatever a property provokes is what is looked for
        traceback.print_exc()
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
