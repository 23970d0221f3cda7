"""Where the patient is, drawn as small pictures of one slice: # tissue, . air."""

import numpy as np
import torch

from flare_infer.volume.body import Body

MM = (3.0, 3.0, 3.0)


def drawn(picture: str, zoom: int = 8, slices: int = 12) -> np.ndarray:
    """A scan of equal slices, each sign of the picture `zoom` x `zoom` voxels."""
    rows = [[sign == "#" for sign in line] for line in picture.split()]
    plane = np.kron(np.array(rows), np.ones((zoom, zoom), dtype=bool))
    return np.where(np.broadcast_to(plane, (slices, *plane.shape)), 40, -1000).astype(np.int16)


def inside(body: Body, zoom: int = 8) -> list[str]:
    """What is inside, at the middle of each sign of the picture."""
    plane = body.inside_zyx[len(body.inside_zyx) // 2, zoom // 2 :: zoom, zoom // 2 :: zoom]
    return ["".join("#" if one else "." for one in row) for row in plane]


def test_what_the_body_encloses_is_body_and_air_beside_it_is_not() -> None:
    body = Body.find(drawn("......... ..#####.. ..#...#.. ..#.#.#.. ..#####.. ........."), MM)
    assert body is not None
    assert inside(body) == [".........", "..#####..", "..#####..", "..#####..", "..#####..", "........."]


def test_gas_at_a_cut_edge_and_between_body_and_arms_or_table_is_inside() -> None:
    cut = Body.find(drawn("..#####.. ......... ..#####.."), MM)
    assert cut is not None
    assert inside(cut) == ["..#####..", "..#####..", "..#####.."]
    arms = Body.find(drawn(".......... #...##...# ..........", slices=30), MM)
    assert arms is not None
    assert inside(arms) == ["..........", "##########", ".........."]


def test_a_lung_that_is_open_to_the_edge_of_the_scan_is_inside() -> None:
    body = Body.find(drawn("......... ..####### ..#...... ..#...... ..####### ........."), MM)
    assert body is not None
    assert inside(body) == [".........", "..#######", "..#######", "..#######", "..#######", "........."]


def test_specks_are_no_body_and_slices_without_tissue_are_outside() -> None:
    image = drawn("....... .###### .###### .......", slices=40)
    image[:10], image[30:] = -1000, -1000
    image[3, 2, 2] = image[36, 8:10, 20] = 500
    body = Body.find(image, MM)
    assert body is not None
    assert not body.inside_zyx[:8].any()
    assert not body.inside_zyx[32:].any()
    assert body.inside_zyx[10:30].any(axis=(1, 2)).all()
    assert body.tissue == (slice(10, 30), slice(8, 24), slice(8, 56))


def test_a_scan_without_tissue_tells_nothing() -> None:
    assert Body.find(np.full((10, 10, 10), -1000), MM) is None
    assert Body.find(np.full((10, 10, 10), np.nan), MM) is None


def test_labels_outside_become_background_and_none_inside_does() -> None:
    image = drawn("......... ......... ..#####.. ..#...#.. ..#####.. ......... .........", zoom=8, slices=30)
    for spacing_mm, step in ((MM, (1, 1, 1)), ((1.0, 1.0, 1.5), (3, 3, 2))):
        wide = image.repeat(step[0], 0).repeat(step[1], 1).repeat(step[2], 2)
        body = Body.find(wide, spacing_mm)
        assert body is not None
        assert body.steps == step
        labels = np.full(wide.shape, 3, dtype=np.uint8)
        body.erase_outside(labels)
        kept = labels == 3
        # 16 of 56 rows are air on either side; two samples about the skin stay.
        rows, columns = np.flatnonzero(kept.any(axis=(0, 2))), np.flatnonzero(kept.any(axis=(0, 1)))
        for ends, first, last, voxels in ((rows, 16, 40, step[1]), (columns, 16, 56, step[2])):
            assert abs(ends[0] - (first - 2) * voxels) <= voxels
            assert abs(ends[-1] + 1 - (last + 2) * voxels) <= voxels
        assert kept[:, 16 * step[1] : 40 * step[1], 16 * step[2] : 56 * step[2]].all()


def test_the_box_keeps_air_in_the_plane_and_none_above_and_below() -> None:
    image = np.full((40, 300, 240), -1000, dtype=np.int16)
    image[10:30, 100:140, 80:120] = 40
    body = Body.find(image, MM)
    assert body is not None
    assert body.box() == (slice(10, 30), slice(50, 190), slice(30, 170))
    near = Body.find(image[:, 60:160], MM)
    assert near is not None
    assert near.box() == (slice(10, 30), slice(0, 100), slice(30, 170))


def test_the_box_holds_all_tissue_between_samples() -> None:
    image = np.full((40, 60, 60), -1000, dtype=np.int16)
    image[5:36, 7:53, 9:55] = 40
    body = Body.find(image, (1.0, 1.0, 1.0))
    assert body is not None
    deep, _, _ = body.box()
    assert deep.start <= 6
    assert deep.stop >= 36
    whole = Body.find(np.full((41, 31, 31), 40), (1.0, 1.0, 1.0))
    assert whole is not None
    assert whole.box() == (slice(0, 41), slice(0, 31), slice(0, 31))


def test_bright_padding_becomes_air_on_another_grid() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(20, 60, (12, 40, 40))
    image[:, :, :10] = 0
    body = Body.find(image, MM)
    assert body is not None
    assert body.tissue[2] == slice(10, 40)
    other = torch.zeros((12, 40, 20))
    body.fill_padding(other, -2.5)
    assert (other[:, :, :5] == -2.5).all()
    assert (other[:, :, 6:] == 0).all()
    plain = torch.zeros((12, 40, 20))
    plain_body = Body.find(rng.integers(20, 60, (12, 40, 40)), MM)
    assert plain_body is not None
    plain_body.fill_padding(plain, -2.5)
    assert not plain.any()
