"""Where classes are, plane by plane."""

import numpy as np
from scipy import ndimage

from flare_infer.results.sections import Section, boxes_of_classes, sections_of


def test_sections_are_the_boxes_of_every_class_in_every_plane() -> None:
    random = np.random.default_rng(3)
    # Codes of any model, in blocks, so that planes without some or all of them are there, and one without background.
    coarse = random.choice(np.array([0, 0, 0, 0, 1, 31, 32, 33, 64, 255], np.uint8), (6, 9, 7))
    coarse[2], coarse[4] = 0, 31
    labels_zyx = coarse.repeat(3, axis=1).repeat(2, axis=2)
    expected = [
        Section(z, code, box)
        for z, plane_yx in enumerate(labels_zyx)
        for code, box in enumerate(ndimage.find_objects(plane_yx), start=1)
        if box is not None
    ]
    assert list(sections_of(labels_zyx)) == expected
    assert list(boxes_of_classes(expected)) == [1, 31, 32, 33, 64, 255]
