"""The body below the abdomen: hip bones, sacrum, thighs, bladder, vessels, fluid.

None of it belongs to a class. A network that is trained without it labels a pelvic mass as liver and a hip as kidney.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_infer import labels
from train.synth.anatomy import Anatomy
from train.synth.landmarks import Landmarks, axes_mm
from train.synth.tissue import Axis, Codes, Mask, Tissue, ellipsoid

_CREST_BELOW_KIDNEY_MM: Final = 85.0
"""Distance in mm from the middle of the left kidney down to the iliac crests, where aorta and vena cava fork."""

_FLUID: Final = labels.GALLBLADDER
"""Urine and ascites have the brightness of bile; their label is background."""

_LOOP_MM: Final = 10.0
_ASCITES: Final = 0.2
_MASS: Final = 0.25


def fork_mm(landmarks: Landmarks) -> float:
    """The z in mm below which aorta and vena cava have forked into iliac vessels."""
    return landmarks.kidney[0] - _CREST_BELOW_KIDNEY_MM


def draw_pelvis(
    out: Codes, anatomy: Anatomy, landmarks: Landmarks, spine_yx: tuple[float, float], rng: np.random.Generator
) -> None:
    """Paint everything below the iliac crests into a tissue map; nothing changes above them."""
    z, y, x = axes_mm(anatomy)
    down = fork_mm(landmarks) - z
    if not (down > 0).any():
        return
    spine_y, middle = spine_yx
    aside = np.abs(x - middle)
    body = (out != Tissue.AIR) & (out != Tissue.SKIN)
    below = body & (down > 0)
    depth, width = spine_y - landmarks.front, landmarks.half_width

    share = np.clip(down / 120, 0, 1)
    cavity_width = width * (0.92 - 0.42 * share)
    cavity_middle = (landmarks.front + spine_y) / 2 + 25 * share
    cavity = np.abs((y - cavity_middle) / (0.5 * depth + 25 * share)) ** 2.4 + (aside / cavity_width) ** 2.4 <= 1
    seat = ((y - spine_y) / 72) ** 2 + (aside / (width * 0.95)) ** 2 <= 1
    trunk = ((y - cavity_middle) / (0.5 * depth + 30)) ** 2 + (aside / (width * 0.98)) ** 2 <= 1
    out[below & (out != Tissue.FAT) & ~trunk & ~seat] = Tissue.FAT
    out[below & (seat | trunk)] = Tissue.MUSCLE
    cleft = (aside < 9) & (y > spine_y + 45) & (down > 90)
    out[below & cleft] = Tissue.FAT
    out[below & cavity] = Tissue.FAT
    loops = ndimage.gaussian_filter(
        rng.standard_normal(out.shape, dtype=np.float32), [_LOOP_MM / step for step in anatomy.spacing_mm]
    )
    bowel = loops > rng.uniform(0.0, 0.7) * loops.std()
    out[below & cavity & bowel & (y < spine_y - 5)] = Tissue.BOWEL

    _draw_bones(out, below, (down, y, aside), (landmarks.front, spine_y), width)
    _draw_soft(out, below & cavity, (down, y, x), (landmarks.front, spine_y, middle), rng)


def draw_fluid(out: Codes, landmarks: Landmarks, anatomy: Anatomy, cavity: Mask, rng: np.random.Generator) -> None:
    """Paint ascites in some cases: fluid instead of fat around the organs, mostly at the sides and in front."""
    if rng.random() >= _ASCITES:
        return
    z, y, x = axes_mm(anatomy)
    aside = np.abs(x - landmarks.midline) > rng.uniform(0.2, 0.7) * landmarks.half_width
    low = z < fork_mm(landmarks) + rng.uniform(0, 80)
    front = y < landmarks.kidney[1] - 15.0
    out[cavity & (out == Tissue.FAT) & front & (aside | low) & (z < landmarks.dome)] = _FLUID


def _draw_bones(
    out: Codes, below: Mask, place: tuple[Axis, Axis, Axis], ends: tuple[float, float], width: float
) -> None:
    """Paint the iliac wings, the sacrum, hip joints, thighs and pubis."""
    down, y, aside = place
    front, spine_y = ends

    # Iliac wings: on each side a slab from outside in front to inside behind, closer to the midline further down.
    share = _clipped(down / 110, 0, 1)
    outer_y, outer_x = front + (spine_y - front) * (0.35 + 0.3 * share), width * (0.86 - 0.26 * share)
    inner_y, inner_x = spine_y + 22 - 20 * share, 34 + 18 * share
    wing = _near(y, aside, outer_y, outer_x, inner_y, inner_x) <= 6
    out[below & wing & (down < 125)] = Tissue.BONE

    # Sacrum: an ellipse that follows the curve of the lower spine and narrows toward its end, with marrow inside.
    back = spine_y + 0.42 * _clipped(down - 15.0, 0, np.inf) - 0.0022 * _clipped(down - 15.0, 0, np.inf) ** 2
    sacrum = ((y - back) / 17) ** 2 + (aside / _clipped(44 - 0.26 * down, 6, np.inf)) ** 2
    out[below & (sacrum <= 1) & (down > 8) & (down < 145)] = Tissue.BONE
    out[below & (sacrum <= 0.6) & (down > 8) & (down < 145)] = Tissue.MARROW

    # Hip joints: the head of the femur, a ball of marrow, in a shell that is open below and outside.
    joint_y, joint_x = spine_y - 28, width * 0.6
    ball = (down - 142) ** 2 + (y - joint_y) ** 2 + (aside - joint_x) ** 2
    out[below & (ball <= 33**2) & (ball > 25**2) & ((aside < joint_x) | (down < 130))] = Tissue.BONE
    out[below & (ball <= 24**2)] = Tissue.MARROW

    # Thighs: shafts of bone that go down and outward from the joints; then the pubis, which joins both sides in front.
    shaft_x = joint_x + _clipped((down - 150) * 0.8, 0, 26)
    shaft = (y - joint_y - 6) ** 2 + (aside - shaft_x) ** 2
    out[below & (shaft <= 17**2) & (down > 150)] = Tissue.BONE
    out[below & (shaft <= 9**2) & (down > 150)] = Tissue.MARROW
    pubis = _near(y, aside, joint_y - 12, joint_x - 20, front + 0.28 * (spine_y - front), 0.0)
    out[below & (pubis <= 8) & (np.abs(down - 168) < 12)] = Tissue.BONE


def _draw_soft(
    out: Codes,
    room: Mask,
    place: tuple[Axis, Axis, Axis],
    ends: tuple[float, float, float],
    rng: np.random.Generator,
) -> None:
    """Paint iliac vessels, rectum, uterus or prostate, bladder, and in some cases a mass."""
    down, y, x = place
    front, spine_y, middle = ends
    for code, radius, back in ((labels.AORTA, 6, 0), (labels.INFERIOR_VENA_CAVA, 7, 12)):
        for side in (-1, 1):
            away_x, away_y = 12 + np.clip(down * 0.55, 0, 62), spine_y - 32 + back - np.clip(down - 40, 0, 60) * 0.4
            vessel = (y - away_y) ** 2 + (x - middle - side * away_x) ** 2 <= radius**2
            out[room & vessel & (down < 170)] = code
    rectum = (y - spine_y - 12) ** 2 + (x - middle) ** 2
    out[room & (rectum <= 19**2) & (down > 60)] = Tissue.BOWEL
    out[room & (rectum <= 8**2) & (down > 60) & (down < rng.uniform(70, 160))] = Tissue.GAS
    depth = spine_y - front
    organ = (rng.uniform(105, 140), spine_y - 0.3 * depth, middle)
    out[room & ellipsoid(place, organ, rng.uniform(15.0, 40.0, 3).tolist())] = Tissue.MUSCLE
    bladder = (rng.uniform(130, 160), front + rng.uniform(0.35, 0.5) * depth, middle + rng.uniform(-12, 12))
    out[room & ellipsoid(place, bladder, rng.uniform(22, 52, 3).tolist())] = _FLUID
    if rng.random() < _MASS:
        mass = (rng.uniform(40, 120), front + rng.uniform(0.3, 0.6) * depth, middle + rng.uniform(-50, 50))
        looks = (Tissue.BOWEL, Tissue.MUSCLE, labels.SPLEEN, labels.LIVER, labels.PANCREAS, labels.TUMOR)
        out[room & ellipsoid(place, mass, rng.uniform(30, 85, 3).tolist())] = looks[rng.integers(len(looks))]


def _clipped(values: npt.NDArray[np.floating[Any]], low: float, high: float) -> Axis:
    return np.asarray(np.clip(values, low, high), dtype=np.float32)


def _near(y: Axis, x: Axis, y0: Axis | float, x0: Axis | float, y1: Axis | float, x1: Axis | float) -> Axis:
    """Distance in a slice from the line between two points, which may differ from slice to slice."""
    way_y, way_x = y1 - y0, x1 - x0
    along = np.clip(((y - y0) * way_y + (x - x0) * way_x) / (way_y**2 + way_x**2), 0, 1)
    return np.asarray(np.hypot(y - y0 - along * way_y, x - x0 - along * way_x), dtype=np.float32)
