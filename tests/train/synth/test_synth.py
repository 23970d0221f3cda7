"""Painted CTs: the anatomy that is invented about organs, and the truth of every voxel."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from flare_infer import labels
from flare_infer.errors import DatasetError, SpecError
from flare_infer.formats.volume_io import write_volume
from flare_infer.labels import KIDNEYS
from flare_infer.volume.volume import Volume
from tests.real_data import real_data
from tests.tiny import LPS
from train.synth.anatomy import Anatomy, deformed, invent_anatomy, read_anatomy
from train.synth.benign import UNFILLED, with_benign_findings
from train.synth.body import tissues_around
from train.synth.cohort_plan import CaseGroup, CohortPlan, cohort_plan_of
from train.synth.invented_organs import aorta_line, with_missing_organs
from train.synth.label_noise import add_false_tumors
from train.synth.landmarks import axes_mm, find_landmarks, has_class
from train.synth.paint import centered, paint, render
from train.synth.pelvis import fork_mm
from train.synth.tissue import PHASES, TISSUES, Appearance, Tissue, draw_appearance
from train.synth.tumor_shapes import HOSTS, TumorShape, invent_shape, place_tumor, read_shapes

SPACING_MM = (5.0, 5.0, 5.0)
EIGHT = (1, 3, 4, 9, 10, 11, 12, 13)
"""What the multi-organ maps annotate."""


@pytest.fixture(scope="module")
def invented() -> Anatomy:
    return invent_anatomy("someone", np.random.default_rng(3), SPACING_MM)


@pytest.fixture(scope="module")
def completed(invented: Anatomy) -> Anatomy:
    """The invented anatomy as a map of eight organs would show it, and what was added to it."""
    eight = np.where(np.isin(invented.codes_zyx, EIGHT), invented.codes_zyx, 0)
    return with_missing_organs(replace(invented, codes_zyx=eight.astype(np.uint8)))


def organs_of(codes_zyx: np.ndarray) -> tuple[int, ...]:
    return tuple(code for code in labels.ORGANS if has_class(codes_zyx, code))


def middle_mm(anatomy: Anatomy, code: int) -> np.ndarray:
    return (np.argwhere(anatomy.codes_zyx == code).mean(axis=0) + 0.5) * anatomy.spacing_mm


def volume_ml(anatomy: Anatomy, code: int) -> float:
    return float(np.count_nonzero(anatomy.codes_zyx == code) * np.prod(anatomy.spacing_mm) / 1000)


def test_an_invented_anatomy_has_all_organs_and_no_tumor(invented: Anatomy) -> None:
    assert organs_of(invented.codes_zyx) == labels.ORGANS
    assert not (invented.codes_zyx == labels.TUMOR).any()


def test_missing_organs_are_invented_and_the_others_kept(invented: Anatomy, completed: Anatomy) -> None:
    assert organs_of(completed.codes_zyx) == labels.ORGANS
    for code in EIGHT:
        before, after = (anatomy.codes_zyx == code for anatomy in (invented, completed))
        if code == labels.LIVER:  # the vena cava runs through its back
            assert np.isin(completed.codes_zyx[before & ~after], (labels.LIVER, labels.INFERIOR_VENA_CAVA)).all()
        else:
            np.testing.assert_array_equal(before, after)


def test_invented_organs_lie_where_a_body_has_them(completed: Anatomy) -> None:
    landmarks = find_landmarks(completed)
    z, y, x = 0, 1, 2
    right, left = (middle_mm(completed, code) for code in KIDNEYS)
    assert right[x] < landmarks.midline < left[x]
    assert right[z] < middle_mm(completed, labels.LIVER)[z]
    aorta, cava = (middle_mm(completed, code) for code in (labels.AORTA, labels.INFERIOR_VENA_CAVA))
    assert cava[x] < landmarks.midline < aorta[x]
    assert aorta[y] < left[y]
    for gland, kidney in (
        (labels.RIGHT_ADRENAL_GLAND, right),
        (labels.LEFT_ADRENAL_GLAND, left),
    ):
        place = middle_mm(completed, gland)
        assert place[z] > kidney[z] + 15
        assert abs(place[x] - landmarks.midline) < abs(kidney[x] - landmarks.midline)
        assert 1.5 < volume_ml(completed, gland) < 9
    assert volume_ml(completed, labels.RIGHT_KIDNEY) > 0.8 * volume_ml(completed, labels.LEFT_KIDNEY)


def test_the_body_about_the_organs(completed: Anatomy) -> None:
    tissues = tissues_around(completed, np.random.default_rng(0))
    assert set(Tissue) - {Tissue.NECROSIS} <= set(np.unique(tissues).tolist())
    organs = completed.codes_zyx > 0
    inside = np.isin(tissues, (Tissue.GAS, Tissue.MEDULLA)) & organs
    np.testing.assert_array_equal(tissues[organs & ~inside], completed.codes_zyx[organs & ~inside])
    middles = {code: np.argwhere(tissues == code).mean(axis=0) for code in (Tissue.MARROW, Tissue.LUNG, Tissue.BOWEL)}
    z, y, _ = np.argwhere(organs).mean(axis=0)
    assert middles[Tissue.MARROW][1] > y
    assert middles[Tissue.LUNG][0] > z > middles[Tissue.BOWEL][0]
    # Air surrounds the body in every plane, and no organ touches it.
    assert (tissues[:, [0, -1], :] == Tissue.AIR).all()
    assert not (ndimage.binary_dilation(tissues == Tissue.AIR) & organs).any()


def test_a_torso_has_hips_a_bladder_and_no_organ_of_ours_in_the_pelvis(invented: Anatomy) -> None:
    torso = with_missing_organs(invent_anatomy("someone", np.random.default_rng(3), SPACING_MM, torso=True))
    assert (torso.shape[0] - invented.shape[0]) * SPACING_MM[0] > 200
    assert {*labels.ORGANS} == set(organs_of(torso.codes_zyx))
    landmarks = find_landmarks(torso)
    tissues = tissues_around(torso, np.random.default_rng(0))
    fork = int(fork_mm(landmarks) / SPACING_MM[0])
    assert not np.isin(torso.codes_zyx[:fork], (labels.AORTA, labels.INFERIOR_VENA_CAVA)).any()
    assert np.isin(invented.codes_zyx, (labels.AORTA, labels.INFERIOR_VENA_CAVA))[0].any(), "else nothing was cut"
    pelvis = tissues[: fork - 20]
    assert not (torso.codes_zyx[: fork - 20] > 0).any()
    assert {Tissue.BONE, Tissue.MUSCLE, Tissue.BOWEL, labels.GALLBLADDER} <= set(np.unique(pelvis).tolist())
    middle = int(aorta_line(torso, landmarks)[1] - 12) // 5
    right, left = (np.count_nonzero(part == Tissue.BONE) for part in (pelvis[..., :middle], pelvis[..., middle + 1 :]))
    assert min(right, left) * 0.125 > 100
    assert 0.7 < right / left < 1.4
    # Above the fork the chest goes on: lungs up to the last plane, and air about the whole body.
    assert (tissues[-1] == Tissue.LUNG).any()
    assert (tissues[:, [0, -1], :] == Tissue.AIR).all()


def test_a_map_that_ends_in_an_organ_is_not_carried_on_below_it(tmp_path) -> None:
    anatomy = invent_anatomy("someone", np.random.default_rng(3), SPACING_MM)
    for name, lowest in (("whole", 0), ("cut", int(np.argwhere(anatomy.codes_zyx == labels.LEFT_KIDNEY)[:, 0].mean()))):
        kept = replace(anatomy, codes_zyx=anatomy.codes_zyx[lowest:])
        write_volume(tmp_path / f"{name}.nii.gz", Volume(array_zyx=kept.codes_zyx, placement=centered(kept)))
    whole, cut = (read_anatomy(tmp_path / f"{name}.nii.gz", SPACING_MM, torso=True) for name in ("whole", "cut"))
    kidneys = (labels.LEFT_KIDNEY, labels.RIGHT_KIDNEY)
    assert np.isin(cut.codes_zyx[0], kidneys).any()
    assert not np.isin(whole.codes_zyx[:30], kidneys).any()


def test_some_torsos_hold_ascites() -> None:
    torso = with_missing_organs(invent_anatomy("someone", np.random.default_rng(3), SPACING_MM, torso=True))
    above = int(fork_mm(find_landmarks(torso)) / SPACING_MM[0]) + 20
    free = torso.codes_zyx[above:] == labels.BACKGROUND
    fluid = [
        np.count_nonzero(free & (tissues_around(torso, np.random.default_rng(seed))[above:] == labels.GALLBLADDER))
        for seed in range(10)
    ]
    assert min(fluid) == 0
    assert max(fluid) * 0.125 > 50


def test_truth_is_what_was_painted(completed: Anatomy) -> None:
    rng = np.random.default_rng(1)
    tumor = place_tumor(completed, invent_shape(rng), rng, (labels.LIVER,))
    painted = paint(completed, tumor, draw_appearance(rng), rng)
    np.testing.assert_array_equal(painted.truth_zyx == labels.TUMOR, tumor)
    np.testing.assert_array_equal(painted.organs_zyx, completed.codes_zyx)
    np.testing.assert_array_equal(painted.truth_zyx[~tumor], painted.organs_zyx[~tumor])
    assert painted.image_zyx.dtype == np.int16


def appearance_of(values: dict[int, float], blur_mm: float = 0.0) -> Appearance:
    mean = np.zeros(TISSUES, dtype=np.float32)
    for code, value in values.items():
        mean[code] = value
    none = np.zeros(TISSUES, dtype=np.float32)
    return Appearance(phase="portal", mean_hu=mean, texture_hu=none, noise_hu=0.0, blur_mm=(blur_mm,) * 3)


def test_a_scan_without_blur_and_noise_shows_each_tissue_as_it_is() -> None:
    tissues = np.full((8, 8, 8), Tissue.FAT, dtype=np.uint8)
    tissues[:, :, 4:] = labels.LIVER
    appearance = appearance_of({Tissue.FAT: -100, labels.LIVER: 110})
    image = render(tissues, SPACING_MM, appearance, np.random.default_rng(0))
    assert set(np.unique(image).tolist()) == {-100, 110}


def test_partial_volume_mixes_neighbors_and_keeps_the_sum() -> None:
    tissues = np.full((9, 9, 16), Tissue.FAT, dtype=np.uint8)
    tissues[:, :, 8:] = labels.LIVER
    values = {Tissue.FAT: -100.0, labels.LIVER: 100.0}
    line = render(tissues, SPACING_MM, appearance_of(values, blur_mm=4.0), np.random.default_rng(0))[4, 4]
    assert -100 < line[7] < 0 < line[8] < 100
    assert line[7] == -line[8]
    assert line[0] == -100
    assert line[-1] == 100


def test_noise_and_phase_are_as_the_look_says() -> None:
    tissues = np.full((20, 20, 20), labels.LIVER, dtype=np.uint8)
    appearance = replace(appearance_of({labels.LIVER: 50}), noise_hu=15.0)
    image = render(tissues, SPACING_MM, appearance, np.random.default_rng(0)).astype(float)
    assert abs(image.std() - 15) < 0.5
    assert abs(image.mean() - 50) < 1.5
    appearances = [draw_appearance(np.random.default_rng(seed)) for seed in range(60)]
    assert {appearance.phase for appearance in appearances} == set(PHASES)
    aorta = {
        phase: np.mean([appearance.mean_hu[labels.AORTA] for appearance in appearances if appearance.phase == phase])
        for phase in PHASES
    }
    assert aorta["unenhanced"] < 70 < aorta["portal"] < 200 < aorta["arterial"]
    assert all(appearance.mean_hu[labels.TUMOR] < appearance.mean_hu[labels.LIVER] for appearance in appearances)


def test_equal_seeds_paint_equal_voxels_and_a_bend_changes_them(invented: Anatomy) -> None:
    one, again, other = (deformed(invented, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.codes_zyx, again.codes_zyx)
    assert (one.codes_zyx != other.codes_zyx).any()
    assert organs_of(one.codes_zyx)[:6] == labels.ORGANS[:6]
    for code in (labels.LIVER, labels.SPLEEN):
        assert 0.7 < volume_ml(one, code) / volume_ml(invented, code) < 1.4


def test_a_tumor_lies_in_the_organ_that_was_asked_for(completed: Anatomy) -> None:
    for seed, host in enumerate(HOSTS):
        rng = np.random.default_rng(seed)
        mask = place_tumor(completed, invent_shape(rng), rng, (host,))
        assert mask.any()
        assert (completed.codes_zyx[mask] == host).all()
        assert np.count_nonzero(mask) < 0.5 * np.count_nonzero(completed.codes_zyx == host)
    nowhere = replace(completed, codes_zyx=np.where(completed.codes_zyx == labels.PANCREAS, 0, completed.codes_zyx))
    assert not place_tumor(nowhere, invent_shape(rng), rng, (labels.PANCREAS,)).any()


def test_tumors_are_cut_out_of_a_map_one_by_one(tmp_path) -> None:
    codes = np.zeros((20, 30, 30), dtype=np.uint8)
    codes[5:10, 5:10, 5:10] = 2  # 125 voxels of 0.012 mL
    codes[5:10, 20:28, 20:28] = 2
    codes[15, 15, 15] = 2  # too small
    codes[12:18, 2:20, 2:9] = 1
    placement = replace(centered(Anatomy(patient="", codes_zyx=codes, spacing_mm=(3.0, 2.0, 2.0))), axes=LPS)
    write_volume(tmp_path / "map.nii.gz", Volume(array_zyx=codes, placement=placement))
    shapes = read_shapes(tmp_path / "map.nii.gz", 2, (labels.LEFT_KIDNEY,), smallest_ml=0.3)
    volumes = [np.count_nonzero(shape.mask_zyx) * 0.008 for shape in shapes]
    assert volumes == pytest.approx([1.5, 3.84], rel=0.25)
    assert all(shape.hosts == (labels.LEFT_KIDNEY,) for shape in shapes)


def test_a_map_without_what_a_body_is_found_by_is_refused(tmp_path) -> None:
    codes = np.zeros((20, 20, 20), dtype=np.uint8)
    codes[5:10, 5:10, 5:10] = labels.PANCREAS
    placement = centered(Anatomy(patient="", codes_zyx=codes, spacing_mm=SPACING_MM))
    write_volume(tmp_path / "pancreas.nii.gz", Volume(array_zyx=codes, placement=placement))
    with pytest.raises(DatasetError, match=r"pancreas.nii.gz: no liver, spleen, left kidney in this map"):
        read_anatomy(tmp_path / "pancreas.nii.gz", SPACING_MM)


def test_false_tumors_are_listed_and_touch_nothing(completed: Anatomy) -> None:
    rng = np.random.default_rng(2)
    tumor = place_tumor(completed, invent_shape(rng), rng, (labels.LIVER,))
    painted = paint(completed, tumor, draw_appearance(rng), rng)
    truth = painted.truth_zyx
    clean = np.where(truth == labels.TUMOR, truth, 0).astype(np.uint8)
    noisy, found = add_false_tumors(clean, truth, painted.image_zyx > -400, SPACING_MM, rng)
    np.testing.assert_array_equal(noisy[clean > 0], clean[clean > 0])
    false = (noisy == labels.TUMOR) & (clean == 0)
    assert np.count_nonzero(false) == sum(item.voxels for item in found)
    assert not (ndimage.binary_dilation(false, np.ones((3, 3, 3))) & (clean > 0)).any()
    kinds = [item.kind for item in found]
    assert kinds[-1] == "outside"
    assert set(kinds[:-1]) == {"small"}
    away = ndimage.distance_transform_edt(truth == 0, sampling=SPACING_MM)
    assert away[found[-1].middle] > 28
    assert all(noisy[item.middle] == labels.TUMOR for item in found[-1:])


def test_a_kidney_is_its_parenchyma(completed: Anatomy) -> None:
    """Sinus, urine and cysts are filled and no kidney any more; nothing else is hollowed out."""
    urine = 0
    for seed in range(8):
        hollow, filling = with_benign_findings(completed, np.random.default_rng(seed))
        kidneys = np.isin(completed.codes_zyx, KIDNEYS)
        gone = kidneys & ~np.isin(hollow.codes_zyx, KIDNEYS)
        np.testing.assert_array_equal(gone, kidneys & (filling != UNFILLED))
        np.testing.assert_array_equal(hollow.codes_zyx[~gone], completed.codes_zyx[~gone])
        assert 0 < np.count_nonzero(gone) < 0.7 * np.count_nonzero(kidneys)
        assert {*np.unique(filling)} <= {UNFILLED, Tissue.FAT, Tissue.BONE, labels.GALLBLADDER}
        others = np.isin(completed.codes_zyx, (labels.BACKGROUND, labels.LIVER, *KIDNEYS), invert=True)
        assert not filling[others].any(), "no other organ is painted over"
        urine += int(np.count_nonzero(filling == labels.GALLBLADDER))
    assert urine > 0


def test_the_renal_pelvis_opens_toward_the_midline(completed: Anatomy) -> None:
    """Summed over many patients, what is taken out of a kidney lies on its inner side."""
    midline, x = find_landmarks(completed).midline, np.broadcast_to(axes_mm(completed)[2], completed.shape)
    for code in KIDNEYS:
        kidney = completed.codes_zyx == code
        inward = np.sign(midline - x[kidney].mean())
        hollow = [with_benign_findings(completed, np.random.default_rng(seed))[0].codes_zyx for seed in range(12)]
        gone = np.concatenate([x[kidney & (codes_zyx != code)] for codes_zyx in hollow])
        assert (gone.mean() - x[kidney].mean()) * inward > 2


def test_painted_urine_is_dark_and_no_label(completed: Anatomy) -> None:
    rng = np.random.default_rng(4)
    hollow, filling = with_benign_findings(completed, rng)
    appearance = replace(draw_appearance(rng, (0.0, 0.0, 1.0)), noise_hu=1.0)
    painted = paint(hollow, np.zeros(hollow.shape, dtype=np.bool_), appearance, rng, filling)
    urine = filling == labels.GALLBLADDER
    deep = ndimage.binary_erosion(urine)
    assert deep.any()
    assert painted.image_zyx[deep].mean() < 50 < painted.image_zyx[np.isin(hollow.codes_zyx, KIDNEYS)].mean()
    assert not np.isin(painted.truth_zyx[urine], KIDNEYS).any()


def test_contrast_phases_are_drawn_as_asked() -> None:
    for index, phase in enumerate(PHASES):
        chances = tuple(float(index == other) for other in range(3))
        assert {draw_appearance(np.random.default_rng(seed), chances).phase for seed in range(5)} == {phase}
    with pytest.raises(SpecError, match="sum to 1"):
        CohortPlan(phases=(0.5, 0.5, 0.5))


def test_a_plan_is_checked() -> None:
    assert sum(group.cases for group in cohort_plan_of(60).groups) == 60
    assert min(group.cases for group in cohort_plan_of(1).groups) == 1
    with pytest.raises(SpecError, match="names of their own"):
        CohortPlan(groups=(CaseGroup(name="validation", annotated=(1,), cases=1),))
    with pytest.raises(SpecError, match="a group needs classes"):
        CaseGroup(name="one", annotated=(99,), cases=1)
    with pytest.raises(SpecError, match="fractions"):
        CohortPlan(noisy=1.5)


def test_real_maps_become_whole_bodies() -> None:
    files = sorted((real_data() / "labels" / "organs8").glob("*.nii.gz"))[::6]
    for path in files:
        anatomy = with_missing_organs(read_anatomy(path, SPACING_MM))
        assert {*labels.ORGANS} - {labels.GALLBLADDER} <= set(organs_of(anatomy.codes_zyx))
        landmarks = find_landmarks(anatomy)
        liver, kidney = middle_mm(anatomy, labels.LIVER), middle_mm(anatomy, labels.RIGHT_KIDNEY)
        assert liver[2] < landmarks.midline
        assert kidney[2] < landmarks.midline
        assert volume_ml(anatomy, labels.RIGHT_KIDNEY) > 0.5 * volume_ml(anatomy, labels.LEFT_KIDNEY)
        assert 20 < volume_ml(anatomy, labels.AORTA) < 200


def test_a_shape_keeps_its_size_on_a_coarse_grid(completed: Anatomy) -> None:
    ball = np.linalg.norm(np.indices((21, 21, 21)) - 10, axis=0) <= 8.0  # 16 mm radius: 17 mL
    shape = TumorShape(name="ball", mask_zyx=ball, hosts=(labels.LIVER,))
    sizes = []
    for seed in range(8):
        mask = place_tumor(completed, shape, np.random.default_rng(seed), (labels.LIVER,))
        sizes.append(np.count_nonzero(mask) * 0.125)
    assert 17 * 0.7**3 * 0.7 < min(sizes) < max(sizes) < 17 * 1.3**3 * 1.2
