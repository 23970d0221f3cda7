"""Which files of a folder are the cases of a dataset: nnU-Net's raw layout, or the challenge's own folders."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flare_infer.files.label_set_file import LABELS_FILE
from flare_infer.formats.volume_io import IMAGE_SUFFIXES, case_name

NNUNET_IMAGES: Final = "imagesTr"
_IMAGES: Final = "images"
_LABELS: Final = "labels"


@dataclass(frozen=True, kw_only=True)
class ImageAndLabels:
    """Image and label map of one case."""

    image: Path
    labels: Path


def find_pairs(folder: Path) -> tuple[dict[str, ImageAndLabels], list[str]]:
    """The pairs of a dataset by case name, in alphabetical order.

    Images lie in `imagesTr` (nnU-Net), in `imagesTr` and more letters (the challenge's imagesTr2200), or in `images`;
    the label maps of each in the folder whose name has `labels` instead of `images`. Folders of validation and test
    images, hidden files, and files with other endings are ignored.

    Returns:
        the pairs, and one line for each problem: no such folder, an image without a label map or the reverse, a case
        that occurs twice.
    """
    folders = [path for path in sorted(folder.glob(f"{_IMAGES}*")) if path.is_dir() and _is_training(path.name)]
    if not folders:
        expected = f"{NNUNET_IMAGES} and {_LABELS}Tr, or {_IMAGES} and {_LABELS}"
        return {}, [f"{folder}: expected a folder that holds {expected}; found none of them"]
    problems: list[str] = []
    images: dict[str, Path] = {}
    maps: dict[str, Path] = {}
    for images_folder in folders:
        maps_folder = folder / labels_folder(images_folder.name)
        if maps_folder.is_dir():
            _collect(images_folder, images, problems)
            _collect(maps_folder, maps, problems)
        else:
            problems.append(f"{maps_folder}: missing; expected the label maps of {images_folder.name}")
    problems += [f"{name}: an image without a label map ({images[name]})" for name in images.keys() - maps.keys()]
    problems += [f"{name}: a label map without an image ({maps[name]})" for name in maps.keys() - images.keys()]
    if not images and not maps and not problems:
        problems.append(f"{folder}: no case; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    names = sorted(images.keys() & maps.keys())
    return {name: ImageAndLabels(image=images[name], labels=maps[name]) for name in names}, sorted(problems)


def dataset_files(folder: Path) -> list[Path]:
    """The paths of a dataset's folders of images and label maps, and of the files that describe it.

    Anything else in the folder, such as other folders of images, does not belong to the dataset.
    """
    folders = [path for path in sorted(folder.glob(f"{_IMAGES}*")) if path.is_dir() and _is_training(path.name)]
    maps = [folder / labels_folder(path.name) for path in folders]
    return [*sorted(folder.glob("*.json")), *sorted(folder.glob(LABELS_FILE)), *folders, *maps]


def labels_folder(images: str) -> str:
    """Name of the folder of label maps that belongs to a folder of images."""
    return _LABELS + images.removeprefix(_IMAGES)


def _is_training(name: str) -> bool:
    return name == _IMAGES or name.startswith(NNUNET_IMAGES)


def _collect(folder: Path, found: dict[str, Path], problems: list[str]) -> None:
    for path in _image_files(folder):
        name = case_name(path)
        if name in found:
            problems.append(f"{name}: listed twice, as {found[name]} and {path}; keep one of them")
        found.setdefault(name, path)


def _image_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and path.name.lower().endswith(IMAGE_SUFFIXES):
            yield path
