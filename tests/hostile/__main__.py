"""`python -m tests.hostile`: the corpus through the real command, as a table; `--write` writes docs/inputs.md."""

import sys
import tempfile
from pathlib import Path

from tests.hostile.corpus import GROUPS, KINDS
from tests.hostile.document import DOCUMENT, document
from tests.hostile.run import GOOD, findings, run_corpus


def main() -> int:
    if "--write" in sys.argv[1:]:
        DOCUMENT.write_text(document(), encoding="utf-8")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        run = run_corpus(Path(folder), KINDS)
        wrong = 0
        for title, kinds in {**GROUPS, "Beside them": (GOOD,)}.items():
            print(f"\n{title}")
            for kind in kinds:
                found = findings(run, kind)
                wrong += bool(found)
                print(f"  {'WRONG' if found else 'right':6}{kind.outcome:12} {kind.sentence}")
                print("".join(f"         {line}\n" for line in found), end="")
    print(f"\n{len(KINDS) + 1} kinds, {wrong} wrong; at most {run.peak_bytes / 2**20:.0f} MiB of memory")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
