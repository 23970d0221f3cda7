"""`python -m tests.fuzz.guided nifti --seconds 600`: readers fuzzed by coverage, from good files on.

Needs `pip install atheris` (Linux, CPython), which the project does not pin: hypothesis is what CI runs. It stops at
the first error that is none of ours; the bytes that provoke it are left in the system's folder for temporary files,
under a name that it prints.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.exit("guided: atheris is missing: pip install atheris")

with atheris.instrument_imports(include=["flare_infer"]):
    from flare_infer.errors import FlareError
    from flare_infer.formats.volume_io import read_volume
    from flare_infer.model.model_file import SPEC_FILE, read_model_file

import json

from tests.fuzz.models import GOOD
from tests.hostile.kind import Truth
from tests.hostile.nifti_file import altered, nifti
from tests.hostile.text_formats import mha, nrrd

SEEDS: dict[str, tuple[str, tuple[Callable[[Path], Truth | None], ...]]] = {
    "nifti": (
        "a.nii",
        (nifti(), nifti(order=">"), nifti(qform_code=0), nifti(dtype="f4", scl_slope=2), altered(bytes)),
    ),
    "gzip": ("a.nii.gz", (nifti(),)),
    "metaimage": ("a.mha", (mha(), mha(CompressedData="True"), mha(AnatomicalOrientation="RAI"))),
    "nrrd": ("a.nrrd", (nrrd(), nrrd(encoding="gzip"), nrrd(space="", space_directions="", spacings="1 2 3"))),
    "model": (SPEC_FILE, (lambda path: path.write_text(json.dumps(GOOD)) and None,)),
}
"""By target: the name its bytes are read under, and good files to begin with."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz one reader, guided by coverage.")
    parser.add_argument("target", choices=SEEDS)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    name, writers = SEEDS[arguments.target]
    with tempfile.TemporaryDirectory() as folder:
        corpus, path = Path(folder) / "corpus", Path(folder) / name
        corpus.mkdir()
        for number, write in enumerate(writers):
            write(path)
            path.rename(corpus / f"{number}")

        def read(data: bytes) -> None:
            path.write_bytes(data)
            try:
                read_model_file(path.parent).spec if name == SPEC_FILE else read_volume(path)
            except FlareError as error:
                if str(path) not in str(error):
                    raise

        options = {
            "max_total_time": arguments.seconds,
            "seed": arguments.seed,
            "max_len": 8192,
            "rss_limit_mb": 2048,
            "artifact_prefix": f"{tempfile.gettempdir()}/guided-{arguments.target}-",
        }
        words = [f"-{option}={value}" for option, value in options.items()]
        atheris.Setup([sys.argv[0], *words, str(corpus)], read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
