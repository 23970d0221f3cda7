"""`python -m tests.dicom`: every kind of DICOM through the reader; `--write` writes docs/dicom.md."""

import sys

from tests.dicom.document import DOCUMENT, document
from tests.dicom.kinds import KINDS
from tests.dicom.trial import tried


def main() -> int:
    if "--write" in sys.argv[1:]:
        DOCUMENT.write_text(document(), encoding="utf-8")
        return 0
    wrong = 0
    for kind in KINDS:
        found = tried(kind).wrong
        wrong += bool(found)
        print(f"{'WRONG' if found else 'right':6}{kind.sentence}")
        print("".join(f"      {line}\n" for line in found), end="")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
