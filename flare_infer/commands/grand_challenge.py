"""An algorithm of grand-challenge.org: `python3 -m flare_infer.commands.grand_challenge SLUG`.

The platform starts a container for each case. The scan lies in `/input/images/SOCKET/NAME.mha`, the label map belongs
into `/output/images/SLUG/`, and `/output/results.json` says what was made. An exit code other than 0 fails the job.
Source: "Runtime environment" and "Defining interfaces" in grand-challenge.org's documentation.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from flare_infer.commands.app import app as predict_app
from flare_infer.errors import UsageError
from flare_infer.files.write_whole import whole_file, write_json
from flare_infer.shell.command import errors_reported, run

RESULTS_FILE: Final = "results.json"
_ENDING: Final = ".mha"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def segment(
    slug: Annotated[str, typer.Argument(help="Slug of the output socket, which names its folder in /output/images.")],
    socket: Annotated[
        str, typer.Option(help="Slug of the input socket, needed if there are several (default: the one there).")
    ] = "*",
    weights: Annotated[Path | None, typer.Option(help="Folder or name of a model (default: that of predict).")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    inputs: Annotated[Path, typer.Option(help="Folder that the platform mounts.")] = Path("/input"),
    outputs: Annotated[Path, typer.Option(help="Folder that the platform collects.")] = Path("/output"),
) -> None:
    """Segment the one scan of a job of grand-challenge.org."""
    with errors_reported():
        image = _only_image(inputs, socket)
        target = _target(outputs, slug, image)
        with tempfile.TemporaryDirectory() as scratch:
            # The folder of a socket must hold the label map and nothing else, so reports stay in the scratch folder.
            made = Path(scratch, "labels", image.name)
            chosen = [f"--device={device}", *([] if weights is None else [f"--weights={weights}"])]
            _predict([*chosen, "--", str(image), str(made)])
            with whole_file(target, _ENDING) as part:
                shutil.copyfile(made, part)
        write_json(outputs / RESULTS_FILE, _results(image, target))


def _only_image(inputs: Path, socket: str) -> Path:
    """The one scan of a job.

    Raises:
        UsageError: if there is none, or several.
    """
    found = sorted(path for path in inputs.glob(f"images/{socket}/*{_ENDING}") if path.is_file())
    if len(found) != 1:
        names = ": " + ", ".join(str(path.relative_to(inputs)) for path in found) if found else ""
        advice = "; name its folder with --socket" if found else ""
        raise UsageError(f"{inputs}/images: expected one scan, SOCKET/NAME{_ENDING}, found {len(found)}{names}{advice}")
    return found[0]


def _target(outputs: Path, slug: str, image: Path) -> Path:
    """Where the label map goes; its folder is made before minutes are spent.

    Raises:
        UsageError: if the slug is no name of a folder, or the folder cannot be made.
    """
    if slug != Path(slug).name:
        raise UsageError(f"{slug}: expected the slug of an output socket, such as organs-segmentation")
    folder = outputs / "images" / slug
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made ({error.strerror}); make {outputs} writable") from error
    return folder / image.name


def _predict(arguments: list[str]) -> None:
    """Run `flare-infer predict`; an exit code other than 0 ends this command, too."""
    try:
        run(predict_app, ["predict", *arguments])
    except SystemExit as end:
        if end.code:
            raise


def _results(image: Path, label_map: Path) -> list[dict[str, Any]]:
    """What `results.json` says, in the form of evalutils, which the platform shows as it is."""
    entry = [[{"type": "metaio_image", "filename": path.name}] for path in (label_map, image)]
    return [{"outputs": entry[0], "inputs": entry[1], "error_messages": []}]


if __name__ == "__main__":
    run(app)
