"""Which cases a step learns from, and that a sample depends on seed, step and index alone."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from flare_infer.errors import DatasetError
from flare_infer.labels import TUMOR
from train.augment.chain import Augmentation
from train.augment.spatial import SpatialAugmentation
from train.batches.samples import Samples
from train.recipes.recipe import TrainingRecipe, smoke
from train.sampling.label_types import LabelTypes
from train.sampling.sampler import CenterSampler, PatchCenter, Sampling, batch_generator, sample_generator
from train.store.store import PreparedCase, region_of
from train.store.tumor_objects import TumorObject

ALL_ORGANS = tuple(range(1, 14))


def case(name: str, annotated: tuple[int, ...], present: tuple[int, ...] = (), edge: int = 20) -> PreparedCase:
    """Each class that is present is one plane in the middle of the case."""
    labels = np.zeros((edge,) * 3, dtype=np.uint8)
    for code in present:
        labels[edge // 4 + code % (edge // 2), edge // 4 : -edge // 4, edge // 4 : -edge // 4] = code
    return PreparedCase(
        name=name,
        annotated=annotated,
        image_zyx=np.random.default_rng(len(name)).normal(0, 1, labels.shape).astype(np.float16),
        labels_zyx=labels,
        locations={code: np.argwhere(labels == code).astype(np.int32) for code in present},
    )


def cases_of(counts: dict[tuple[int, ...], int]) -> list[PreparedCase]:
    return [case(f"{codes}-{index}", codes) for codes, count in counts.items() for index in range(count)]


def proportional(counts: dict[tuple[int, ...], int], batch: int) -> LabelTypes:
    return LabelTypes(cases_of(counts), Sampling(type_sampling="proportional"), batch)


def test_types_are_drawn_in_proportion_to_their_cases() -> None:
    counts = {ALL_ORGANS: 222, (1, TUMOR): 60, (2, 13): 15, (TUMOR,): 3}
    types = proportional(counts, 4)
    drawn = Counter(types.draw(7, step)[0].annotated for step in range(4000))
    expected = [4000 * count / 300 for count in counts.values()]
    assert stats.chisquare([drawn[codes] for codes in counts], expected).pvalue > 0.01


def test_every_case_of_a_type_is_drawn_alike() -> None:
    types = proportional({(1,): 5}, 2)
    drawn = Counter(chosen.name for step in range(2000) for chosen in types.draw(3, step))
    assert len(drawn) == 5
    assert stats.chisquare(list(drawn.values())).pvalue > 0.01


def test_a_batch_is_of_one_type_and_repeats_a_case_only_if_it_must() -> None:
    types = proportional({(1,): 4, (2,): 2}, 3)
    seen = set()
    for step in range(60):
        batch = types.draw(0, step)
        names = {chosen.name for chosen in batch}
        (annotated,) = {chosen.annotated for chosen in batch}
        assert len(batch) == 3
        assert len(names) == 3 if annotated == (1,) else len(names) <= 2
        seen.add(annotated)
    assert seen == {(1,), (2,)}


def test_the_paired_schedule_by_hand() -> None:
    counts = {ALL_ORGANS: 3, (1, TUMOR): 4, (2, TUMOR): 2, (3,): 1}
    types = LabelTypes(cases_of(counts), Sampling(type_sampling="paired", paired_after=5), 2)
    drawn = [types.draw(1, step)[0].annotated for step in range(605)]
    assert drawn[:5] == [ALL_ORGANS] * 5
    assert drawn[5::2] == [ALL_ORGANS] * 300, "then every other step"
    partial = Counter(drawn[6::2])
    assert set(partial) == {(1, TUMOR), (2, TUMOR)}, "a type smaller than a batch is never drawn"
    assert stats.chisquare([partial[1, TUMOR], partial[2, TUMOR]], [200, 100]).pvalue > 0.01


def test_the_paired_schedule_says_what_it_lacks() -> None:
    sampling = Sampling(type_sampling="paired")
    for counts in ({(1,): 9}, {ALL_ORGANS: 9}, {ALL_ORGANS: 9, (1,): 1}):
        with pytest.raises(DatasetError, match="use proportional"):
            LabelTypes(cases_of(counts), sampling, 2)


def centers_in(one: PreparedCase, sampling: Sampling, draws: int = 6000) -> Counter[int]:
    sampler = CenterSampler([one], sampling, (4, 4, 4))
    return Counter(sampler.draw_in(one, sample_generator(5, step, 0)).code for step in range(draws))


def test_foreground_is_drawn_with_probability_07_and_its_classes_alike() -> None:
    codes = centers_in(case("a", (1, 2, 3), (1, 3)), Sampling())
    assert stats.chisquare([codes[0], codes[1], codes[3]], [1800, 2100, 2100]).pvalue > 0.01


def test_tumor_focus_drops_organs_where_there_is_a_tumor() -> None:
    # Kept with probability 0.2 each, two organs leave the tumor alone in 0.64, beside one in 0.32, beside two in 0.04.
    codes = centers_in(case("a", (1, 2, TUMOR), (1, 2, TUMOR)), Sampling(foreground=1.0, organ_center_keep=0.2))
    tumor = 0.64 + 0.32 / 2 + 0.04 / 3
    expected = [6000 * tumor, 6000 * (1 - tumor) / 2, 6000 * (1 - tumor) / 2]
    assert stats.chisquare([codes[TUMOR], codes[1], codes[2]], expected).pvalue > 0.01
    without = centers_in(case("a", (1, 2, TUMOR), (1, 2)), Sampling(foreground=1.0, organ_center_keep=0.2), 200)
    assert set(without) == {1, 2}


def test_a_case_without_foreground_gives_random_places() -> None:
    assert set(centers_in(case("a", (1, 2)), Sampling(foreground=1.0), 50)) == {0}


def test_a_steps_generator_is_none_of_its_samples() -> None:
    first = batch_generator(3, 4).random()
    assert first == batch_generator(3, 4).random()
    assert first not in [sample_generator(3, 4, index).random() for index in range(8)]
    assert first != batch_generator(3, 5).random()


def tumor_object() -> TumorObject:
    labels = np.ones((5, 6, 7), dtype=np.uint8)
    labels[2, 3, 3] = TUMOR
    image = np.full(labels.shape, 1000, dtype=np.float16)
    return TumorObject(name="o_000", case="o", annotated=(1, TUMOR), image_zyx=image, labels_zyx=labels)


def pasting(**changes: object) -> TrainingRecipe:
    """A recipe with CutMix that leaves intensities alone, so that what is pasted is seen."""
    plain = replace(smoke().augmentation.intensity, **dict.fromkeys(vars(smoke().augmentation.intensity), 0.0))
    quiet = Augmentation(spatial=SpatialAugmentation(rotation_probability=0.0, scale_probability=0.0), intensity=plain)
    recipe = replace(smoke(), cutmix=True, sampling=Sampling(type_sampling="proportional"), augmentation=quiet, batch=3)
    return replace(recipe, **changes)  # type: ignore[arg-type]


def hosts_and_others() -> list[PreparedCase]:
    return [
        case("host", (1, 2), (1, 2)),
        case("second host", (1, 2), (1, 2)),
        case("has tumors", (1, TUMOR), (1, TUMOR)),
        case("tumor looked for, none there", (1, 2, TUMOR), (1, 2)),
        case("no organ", (1, 2)),
    ]


def test_samples_do_not_depend_on_who_draws_them_when() -> None:
    wanted = [(step, index) for step in range(6) for index in range(3)]
    recipe, cases = pasting(), hosts_and_others()
    first = {key: samples.draw(*key) for samples in [Samples(recipe, cases, [tumor_object()])] for key in wanted}
    workers = [Samples(recipe, cases, [tumor_object()]) for _ in range(3)]
    for number, key in enumerate(reversed(wanted)):
        again = workers[number % 3].draw(*key)
        assert again.paste == first[key].paste
        assert torch.equal(again.patch.image_zyx, first[key].patch.image_zyx)
        assert torch.equal(again.patch.labels_zyx, first[key].patch.labels_zyx)
        assert again.patch.annotated == first[key].patch.annotated
    assert not torch.equal(first[0, 0].patch.image_zyx, first[0, 1].patch.image_zyx)


def test_only_cases_with_organs_and_without_labeled_tumors_are_hosts() -> None:
    for one, receives in zip(hosts_and_others(), (True, True, False, True, False), strict=True):
        samples = Samples(pasting(), [one], [tumor_object()])
        drawn = [samples.draw(step, 0) for step in range(30)]
        pasted = [sample for sample in drawn if sample.paste == "pasted"]
        assert bool(pasted) == receives, one.name
        for sample in drawn:
            shows = bool((sample.patch.image_zyx >= 900).any())
            assert shows == (sample.paste == "pasted"), "every paste is seen in its patch, and nothing else is one"
            expected = {*one.annotated, TUMOR} if shows else set(one.annotated)
            assert set(sample.patch.annotated) == expected


def test_without_cutmix_nothing_is_pasted() -> None:
    samples = Samples(pasting(cutmix=False), hosts_and_others())
    assert {samples.draw(step, 0).paste for step in range(20)} == {"none"}


def test_an_object_that_never_fits_is_counted() -> None:
    item = tumor_object()
    far = np.ones((41, 41, 41), dtype=np.uint8)
    far[0, 0, 0] = TUMOR
    wide = TumorObject(**(vars(item) | {"labels_zyx": far, "image_zyx": np.zeros(far.shape, np.float16)}))
    samples = Samples(pasting(), [case("host", (1, 2), (1, 2))], [wide])
    drawn = [samples.draw(step, 0) for step in range(20)]
    assert {sample.paste for sample in drawn} == {"lost"}
    assert {sample.patch.annotated for sample in drawn} == {(1, 2)}


def test_pastes_are_centered_where_patch_and_region_meet() -> None:
    recipe = pasting()
    host = case("host", (1, 2), (1, 2), edge=60)
    samples = Samples(recipe, [host], [tumor_object()])
    region = region_of(host)
    assert region is not None
    center = PatchCenter(case=host, voxel=(20.0, 18.0, 40.0), code=1)
    found = samples._place(center)
    assert found is not None
    whole, centers = found
    assert whole == region
    # Of 16 voxels about 20 the first is 13, the last 28: two middles, of which the lower one is meant.
    assert recipe.spec.patch == (16, 16, 16)
    around = (slice(13, 29), slice(11, 27), slice(33, 49))
    expected = [
        slice(max(part.start, own.start), min(part.stop, own.stop)) for part, own in zip(around, region, strict=True)
    ]
    assert list(centers) == expected
    assert list(centers) != list(region), "the patch shows a part of the region only"
    assert samples._place(PatchCenter(case=host, voxel=(55.0, 55.0, 55.0), code=0)) is None, "beside the abdomen"


def test_the_middle_of_every_paste_is_seen_in_its_patch() -> None:
    wide = np.ones((21, 21, 21), dtype=np.uint8)
    wide[10, 10, 10] = TUMOR  # a single voxel: it is seen only if the middle is
    image = np.full(wide.shape, 500, dtype=np.float16)
    image[10, 10, 10] = 2000
    item = TumorObject(name="o_000", case="o", annotated=(1, TUMOR), image_zyx=image, labels_zyx=wide)
    samples = Samples(pasting(), [case("host", (1, 2), (1, 2), edge=60)], [item])
    drawn = [samples.draw(step, 0) for step in range(40)]
    pasted = [sample for sample in drawn if sample.paste == "pasted"]
    assert len(pasted) > 20
    assert all((sample.patch.labels_zyx == TUMOR).any() for sample in pasted)


def test_every_sample_of_a_step_is_drawn_by_itself() -> None:
    samples = Samples(pasting(cutmix=False), [case("only one", (1, 2), (1, 2), edge=40)])
    drawn = [samples.draw(step, index).patch.image_zyx for step in range(2) for index in range(3)]
    for number, image in enumerate(drawn):
        assert not any(torch.equal(image, other) for other in drawn[:number])
