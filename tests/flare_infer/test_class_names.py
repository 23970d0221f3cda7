"""Names of classes in public datasets, and the code of the challenge that each means."""

import pytest

from flare_infer import labels
from flare_infer.class_names import code_of_name

DATASETS = {
    "BTCV": "background spleen rkid lkid gall eso liver sto aorta IVC veins pancreas rad lad",
    "TotalSegmentator": "background spleen kidney_right kidney_left gallbladder esophagus liver stomach aorta "
    "inferior_vena_cava portal_vein_and_splenic_vein pancreas adrenal_gland_right adrenal_gland_left",
    "AbdomenAtlas": "background spleen kidney_right kidney_left gall_bladder esophagus liver stomach aorta postcava "
    "celiac_trunk pancreas adrenal_gland_right adrenal_gland_left",
}
BTCV_CODES = (0, 3, 2, 13, 9, 10, 1, 11, 5, 6, None, 4, 7, 8)


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_datasets_own_names_are_known(dataset: str) -> None:
    assert tuple(code_of_name(name) for name in DATASETS[dataset].split()) == BTCV_CODES


def test_amos_is_known_with_its_misspelling() -> None:
    names = (
        *("background", "spleen", "right kidney", "left kidney", "gall bladder", "esophagus", "liver", "stomach"),
        *("arota", "postcava", "pancreas", "right adrenal gland", "left adrenal gland", "duodenum", "bladder"),
        "prostate/uterus",
    )
    assert tuple(code_of_name(name) for name in names) == (0, 3, 2, 13, 9, 10, 1, 11, 5, 6, 4, 7, 8, 12, None, None)


def test_the_challenges_own_names_have_their_own_codes() -> None:
    assert tuple(code_of_name(name) for name in labels.NAMES) == (0, *labels.CODES)
    spelled = ("Inferior Vena Cava (IVC)", "Right Adrenal Gland(RAG)", "Left Adrenal Gland(LAG)", "Left kidney", "RK")
    assert tuple(code_of_name(name) for name in spelled) == (6, 7, 8, 13, 2)


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ("right_kidney kidney_right rkidney R.Kidney Kidney-R KidneyRight kidney(right)", labels.RIGHT_KIDNEY),
        ("left-kidney Kidney_L lt_kidney LK", labels.LEFT_KIDNEY),
        ("oesophagus Esophagus", labels.ESOPHAGUS),
        ("cancer tumour liver_tumor Tumour hepatic_tumor kidney_tumor", labels.TUMOR),
        ("suprarenal_gland_left left_adrenal", labels.LEFT_ADRENAL_GLAND),
    ],
)
def test_spellings(names: str, code: int) -> None:
    assert {code_of_name(name) for name in names.split()} == {code}


@pytest.mark.parametrize(
    "name",
    [
        *("kidney", "adrenal", "bladder", "portal vein", "lesion", "cyst", "colon", "lung", "", "()", "1"),
        *("liver (spleen)", "kidney (liver)", "superior vena cava", "liver vessel", "tumor bed", "non-liver"),
    ],
)
def test_what_may_be_something_else_is_not_guessed(name: str) -> None:
    assert code_of_name(name) is None
