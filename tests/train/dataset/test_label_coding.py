"""Names in dataset.json decide what a label means; a mapping says what they leave open, else training is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from flare_infer.errors import DatasetError
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.labels import LEFT_KIDNEY, LIVER, NAMES, PANCREAS, SPLEEN, TUMOR
from flare_infer.volume.volume import Volume
from tests.dataset import make_dataset
from tests.train.commands.test_app import run
from train.commands.app import app
from train.dataset.cases import read_cases
from train.dataset.check import read_case
from train.dataset.label_coding import CHALLENGE_CODING, read_coding
from train.dataset.label_mapping import read_mapping
from train.problems import ProblemsError
from train.pseudo.merge import merge_dataset
from train.pseudo.merge_plan import PseudoLabels
from train.store.store import read_store
from train.store.tumor_objects import read_objects

BTCV = [
    "background",
    "spleen",
    "rkid",
    "lkid",
    "gall",
    "eso",
    "liver",
    "sto",
    "aorta",
    "IVC",
    "veins",
    "pancreas",
    "rad",
    "lad",
]
BTCV_OURS = (0, 3, 2, 13, 9, 10, 1, 11, 5, 6, 0, 4, 7, 8)


def renumbered(dataset: Path, named: dict[str, object], numbers: dict[int, int]) -> Path:
    """Give a dataset in our codes other numbers, and the names to them; annotated.json keeps ours."""
    (dataset / "dataset.json").write_text(json.dumps({"labels": named, "file_ending": ".nii.gz"}))
    for path in (dataset / "labelsTr").iterdir():
        volume = read_volume(path)
        array = np.zeros_like(volume.array_zyx)
        for ours, theirs in numbers.items():
            array[volume.array_zyx == ours] = theirs
        write_volume(path, Volume(array_zyx=array, placement=volume.placement))
    return dataset


def describe(dataset: Path, labels: object) -> None:
    (dataset / "dataset.json").write_text(json.dumps({"labels": labels}))


@pytest.fixture
def msd(tmp_path: Path) -> Path:
    """Task09 and a tumor: spleen is 1, pancreas 2, cancer 3."""
    dataset = make_dataset(tmp_path, {"a": (SPLEEN, TUMOR), "b": (SPLEEN, PANCREAS, TUMOR)})
    named = {"background": 0, "spleen": 1, "pancreas": 2, "cancer": 3}
    return renumbered(dataset, named, {SPLEEN: 1, PANCREAS: 2, TUMOR: 3})


def test_a_spleen_of_code_1_is_prepared_as_spleen(msd: Path, tmp_path: Path) -> None:
    same = make_dataset(tmp_path / "ours", {"a": (SPLEEN, TUMOR), "b": (SPLEEN, PANCREAS, TUMOR)})
    code, stdout, _ = run(app, "scan", msd)
    assert code == 0
    assert "1 spleen is 3 spleen, 2 pancreas is 4 pancreas, 3 cancer is 14 tumor" in stdout
    assert "     1  3 spleen, 14 tumor\n        a\n" in stdout
    for dataset, store in ((msd, "store"), (same, "store of ours")):
        assert run(app, "prepare", dataset, tmp_path / store, "--recipe", "smoke")[0] == 0
    prepared, expected = read_store(tmp_path / "store"), read_store(tmp_path / "store of ours")
    for one, other in zip(prepared, expected, strict=True):
        assert one.annotated == other.annotated
        np.testing.assert_array_equal(one.labels_zyx[:], other.labels_zyx[:])
        assert one.locations.keys() == other.locations.keys() >= {SPLEEN, TUMOR}


def test_scan_confirms_in_our_codes(msd: Path) -> None:
    (msd / "annotated.json").unlink()
    assert run(app, "scan", msd, "--write")[0] == 0
    assert json.loads((msd / "annotated.json").read_text()) == {"a": [3, 14], "b": [3, 4, 14]}


def test_objects_clean_and_merge_read_the_same_labels(msd: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in msd.rglob("*") if path.is_file()}
    expected = [read_case(case).labels.array_zyx for case in read_cases(msd)]
    assert [set(np.unique(array)) for array in expected] == [{0, SPLEEN, TUMOR}, {0, SPLEEN, PANCREAS, TUMOR}]
    assert run(app, "clean", msd, tmp_path / "clean", "--smallest", 1)[0] == 0
    merge_dataset(msd, PseudoLabels(fill="none"), tmp_path / "merged")
    for name in ("clean", "merged"):
        assert read_coding(tmp_path / name) == CHALLENGE_CODING, "what is written has the challenge's codes"
        found = [read_volume(case.labels).array_zyx for case in read_cases(tmp_path / name)]
        assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
    assert run(app, "objects", msd, tmp_path / "objects", "--recipe", "smoke")[0] == 0
    made = read_objects(tmp_path / "objects")
    assert {code for item in made for code in np.unique(item.labels_zyx[:])} <= {0, SPLEEN, PANCREAS, TUMOR, 255}
    assert all((item.labels_zyx[:] == TUMOR).any() for item in made)
    assert {path: path.read_bytes() for path in before} == before


def test_btcv_needs_one_word_about_its_veins(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (SPLEEN, LIVER, LEFT_KIDNEY)})
    renumbered(dataset, {name: code for code, name in enumerate(BTCV)}, {SPLEEN: 1, LIVER: 6, LEFT_KIDNEY: 3})
    code, _, stderr = run(app, "scan", dataset)
    assert code == 2
    (line,) = stderr.splitlines()
    assert 'code 10 is "veins", 10 is esophagus in the challenge' in line
    assert "--map FILE" in line
    file = tmp_path / "map.toml"
    file.write_text('veins = "background"\n')
    coding = read_coding(dataset, read_mapping(file))
    assert coding.codes == tuple(enumerate(BTCV_OURS))
    (case,) = read_cases(dataset, read_mapping(file))
    assert set(np.unique(read_case(case).labels.array_zyx)) == {0, SPLEEN, LIVER, LEFT_KIDNEY}


def test_a_mapping_is_kept_with_the_dataset_and_with_the_store(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (LIVER, TUMOR)})
    renumbered(dataset, {"background": 0, "Leber": 1, "Herd": 2}, {LIVER: 1, TUMOR: 2})
    file, other = tmp_path / "map.json", tmp_path / "other.json"
    file.write_text('{"Leber": "liver", "2": 14}')
    other.write_text('{"Leber": "spleen", "Herd": "tumor"}')
    store, objects = tmp_path / "store", tmp_path / "objects"
    assert run(app, "prepare", dataset, store, "--recipe", "smoke")[0] == 2
    assert run(app, "prepare", dataset, store, "--recipe", "smoke", "--map", file)[0] == 0
    assert run(app, "objects", dataset, objects, "--recipe", "smoke")[0] == 2
    assert run(app, "objects", dataset, objects, "--recipe", "smoke", "--store", store)[0] == 0
    assert run(app, "scan", dataset, "--map", file, "--write")[0] == 0
    (dataset / "mapping.json").unlink()
    (dataset / "annotated.json").unlink()
    assert run(app, "scan", dataset, "--map", file, "--write")[0] == 0
    assert json.loads((dataset / "annotated.json").read_text()) == {"a": [LIVER, TUMOR]}
    for arguments in (("scan", dataset), ("split", dataset), ("prepare", dataset, store, "--recipe", "smoke")):
        assert "mapping.json" not in run(app, *arguments)[2]
    assert run(app, "prepare", dataset, store, "--recipe", "smoke")[0] == 0
    code, _, stderr = run(app, "prepare", dataset, tmp_path / "new", "--recipe", "smoke", "--map", other)
    assert code == 2
    assert "1 is liver there and spleen here" in stderr


def test_the_rest_can_be_background_in_one_word(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (SPLEEN,)})
    describe(dataset, {"background": 0, "spleen": 1, "colon": 2, "rib_left_1": 3})
    file = tmp_path / "map.json"
    file.write_text('{"*": "background"}')
    assert read_coding(dataset, read_mapping(file)).codes == ((0, 0), (1, SPLEEN), (2, 0), (3, 0))


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"background": 0, "skin": 99}, 'code 99 is "skin", the challenge has no 99'),
        ({"background": 0, "kidney": 2}, 'code 2 is "kidney", 2 is right kidney in the challenge'),
        ({"background": 0, "liver": 1.5}, r"liver: expected a whole number .* found 1\.5"),
        ({"background": 0, "liver": 1.0}, r"liver: expected a whole number .* found 1\.0"),
        ({"background": 0, "liver": True}, "liver: expected a whole number .* found True"),
        ({"background": 0, "liver": "1"}, "liver: expected a whole number .* found '1'"),
        ({"background": 0, "liver": [1, 2]}, r'"liver" is a region, of the labels \[1, 2\]: regions are not supported'),
        ({"background": 0, "liver": -1}, "liver: expected a whole number .* found -1"),
        ({"background": 0, "liver": 1, "spleen": 1}, 'code 1 has several names, "liver", "spleen"'),
        ({"background": 0, "kidney_right": 2, "rkid": 3}, '2 "kidney_right" and 3 "rkid" are both right kidney'),
        (
            {"0": "background", "1": "spleen"},
            'version 1 has them, code: name; write name: code: "labels": {"background": 0, "spleen": 1}',
        ),
        ([], r"expected an object `labels` of name: code, found \[\]"),
    ],
)
def test_what_cannot_be_mapped_is_refused(tmp_path: Path, labels: object, says: str) -> None:
    dataset = make_dataset(tmp_path, {"a": (1,)})
    describe(dataset, labels)
    with pytest.raises(ProblemsError, match=says.replace("{", r"\{").replace("}", r"\}")):
        read_cases(dataset)
    code, _, stderr = run(app, "scan", dataset)
    assert code == 2
    assert len(stderr.splitlines()) == 1, "label values are not judged by numbers that nobody understands"


def test_several_names_are_one_class_only_where_a_mapping_says_so(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1,)})
    describe(dataset, {"background": 0, "liver": 1, "liver_tumor": 2, "kidney_tumor": 3})
    file = tmp_path / "map.json"
    file.write_text('{"liver_tumor": "tumor"}')
    with pytest.raises(ProblemsError, match='2 "liver_tumor" and 3 "kidney_tumor" are both tumor'):
        read_coding(dataset, read_mapping(file))
    file.write_text('{"liver_tumor": "tumor", "kidney_tumor": 14}')
    assert read_coding(dataset, read_mapping(file)).codes == ((0, 0), (1, LIVER), (2, TUMOR), (3, TUMOR))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"liver": "Leber"}', "mapped to 'Leber', which is no class of the challenge"),
        ('{"liver": 15}', "mapped to 15, which is no class"),
        ('{"liver": 1.0}', r"mapped to 1\.0, which is no class"),
        ('{"liver": true}', "mapped to True, which is no class"),
        ('{"spleeen": 3}', '"spleeen" is neither a name nor a code of dataset.json: 0 "background", 1 "liver"'),
        ('{"7": 3}', '"7" is neither a name nor a code'),
        ('{"liver": 1, "1": 1}', '"liver" is mapped by its name and by its code'),
        ("liver = 1", "not readable as JSON"),
    ],
)
def test_a_mapping_that_helps_nobody_is_refused(tmp_path: Path, content: str, says: str) -> None:
    dataset = make_dataset(tmp_path, {"a": (1,)})
    describe(dataset, {"background": 0, "liver": 1})
    file = tmp_path / "map.json"
    file.write_text(content)
    with pytest.raises(DatasetError, match=says):
        read_coding(dataset, read_mapping(file))


def test_a_number_that_has_no_name_is_refused(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1, 2)})
    describe(dataset, {"background": 0, "liver": 1})
    code, _, stderr = run(app, "scan", dataset)
    assert code == 2
    assert "a: labels: holds 2, which dataset.json does not name; it names 0 background, 1 liver" in stderr
    path = dataset / "labelsTr" / "a.nii.gz"
    volume = read_volume(path)
    for value in (-3, 300):
        array = volume.array_zyx.astype(np.int16)
        array[array == 2] = value
        write_volume(path, Volume(array_zyx=array, placement=volume.placement))
        (case,) = read_cases(dataset)
        with pytest.raises(ProblemsError, match=f"holds {value}, which"):
            read_case(case)


def test_without_names_a_mapping_speaks_of_numbers(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1,)})
    (dataset / "dataset.json").unlink()
    for kind in ("images", "labels"):
        (dataset / f"{kind}Tr").rename(dataset / kind)
    file = tmp_path / "map.json"
    file.write_text('{"1": "spleen", "3": "liver"}')
    coding = read_coding(dataset, read_mapping(file))
    assert dict(coding.codes) == dict(enumerate(range(len(NAMES)))) | {1: 3, 3: 1}
    file.write_text('{"spleen": 3}')
    with pytest.raises(ProblemsError, match=r'"spleen" is no code, and without dataset\.json there are no names'):
        read_coding(dataset, read_mapping(file))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'\xef\xbb\xbf{"labels": {}}', "byte order mark"),
        (b'{"labels": {} // mine\n}', "at a comment"),
        (b'{"labels": {}', "not readable as JSON"),
    ],
)
def test_a_dataset_json_that_is_no_json_says_why(tmp_path: Path, content: bytes, says: str) -> None:
    dataset = make_dataset(tmp_path, {"a": (1,)})
    (dataset / "dataset.json").write_bytes(content)
    with pytest.raises(ProblemsError, match=says):
        read_cases(dataset)


def test_a_healthy_control_blocks_nothing(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"organs": (1, 2, 3), "healthy": (TUMOR,), "ill": (1, TUMOR)})
    path = dataset / "labelsTr" / "healthy.nii.gz"
    volume = read_volume(path)
    write_volume(path, Volume(array_zyx=np.zeros_like(volume.array_zyx), placement=volume.placement))
    assert run(app, "scan", dataset)[0] == 0
    store, objects, trained = (tmp_path / name for name in ("store", "objects", "run"))
    for kind in ("dataset", "recipe"):
        arguments = ("prepare", dataset, tmp_path / kind, "--recipe", "smoke", "--normalization", kind)
        assert run(app, *arguments)[0] == 0
    (tmp_path / "recipe").rename(store)
    (case,) = (case for case in read_store(store) if case.name == "healthy")
    assert (case.annotated, dict(case.locations), case.region) == ((TUMOR,), {}, None)
    assert run(app, "clean", dataset, tmp_path / "clean")[0] == 0
    assert run(app, "objects", dataset, objects, "--recipe", "smoke")[0] == 0
    assert run(app, "fit", store, trained, "--recipe", "smoke", "--device", "cpu")[0] == 0


def test_an_empty_map_of_which_nobody_said_anything_is_asked_about_and_refused(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1,), "empty": (1,)})
    path = dataset / "labelsTr" / "empty.nii.gz"
    volume = read_volume(path)
    write_volume(path, Volume(array_zyx=np.zeros_like(volume.array_zyx), placement=volume.placement))
    (dataset / "annotated.json").unlink()
    code, stdout, _ = run(app, "scan", dataset, "--write")
    assert code == 0
    assert "1  no label at all\n        empty\n        empty: say in annotated.json what was looked for" in stdout
    code, _, stderr = run(app, "prepare", dataset, tmp_path / "store", "--recipe", "smoke")
    assert code == 2
    assert "empty: annotates no class" in stderr
    (dataset / "annotated.json").write_text('{"a": [1], "empty": [14]}')
    assert run(app, "prepare", dataset, tmp_path / "store", "--recipe", "smoke")[0] == 0
