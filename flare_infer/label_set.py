"""A set of classes that a model learns and label maps hold: names, codes, and what is to be known of the classes.

The challenge's set is the one that ships. Another one is a table, of TOML or JSON (`files/label_set_file` reads it)::

    labels  = {femur = 1, hip = 2, lesion = 3}      codes are 1, 2, 3 and so on; background is 0
    lesions = {lesion = ["femur", "hip"]}           classes that are lesions, with the organs they lie in
    pairs   = [["right kidney", "left kidney"]]     classes of both sides of the body, the right one first
    region  = ["femur", "hip"]                      whose box is where lesions lie; without it that of all organs
    islands = ["femur"]                             classes of which small separate parts are no errors
    hollow  = ["stomach"]                           whose inside may be gas: air in the body is no proof against them
    lung_is_background = true                       lung holds none of the classes
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from flare_infer import labels
from flare_infer.class_names import code_of_name, letters
from flare_infer.errors import SpecError

MOST_CLASSES: Final = labels.IGNORED - 1
"""Without background: 254 and 255 mean ignored and known background in prepared labels, which are bytes."""

IGNORE_NAME: Final = "ignore"
"""What nnU-Net calls the label of voxels about which nothing is known; it is no class."""

_LONGEST_NAME: Final = 200


@dataclass(frozen=True, kw_only=True)
class LabelSet:
    """Classes and their codes.

    Attributes:
        names: name of each code, background first; the index is the code.
        lesions: names of the classes that are lesions, each with the names of the organs it lies in.
        pairs: names of classes of both sides of the body, the right one first.
        region: names of the organs whose bounding box is where lesions lie; empty means all organs.
        islands: names of the classes of which small separate parts are no errors: cleaning leaves them.
        hollow: names of the organs whose inside may be gas. Where all of them are annotated, air within the body is
            known background; without any, it never is.
        lung_is_background: whether lung holds none of the classes, so that it is known background.
    """

    names: tuple[str, ...]
    lesions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pairs: tuple[tuple[str, str], ...] = ()
    region: tuple[str, ...] = ()
    islands: tuple[str, ...] = ()
    hollow: tuple[str, ...] = ()
    lung_is_background: bool = False

    def __post_init__(self) -> None:
        for problem in (*self._wrong_names(), *self._wrong_lesions(), *self._wrong_facts()):
            raise SpecError(problem)

    def _wrong_names(self) -> Iterator[str]:
        if not 1 <= len(self.names) - 1 <= MOST_CLASSES:
            yield f"labels: expected 1 to {MOST_CLASSES} classes beside background, found {len(self.names) - 1}"
        known: dict[str, str] = {}
        for name in self.names:
            if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable() or not letters(name):
                yield f"labels: a name is a text of 1 to {_LONGEST_NAME} characters with a letter, found {name!r}"
            if letters(name) == IGNORE_NAME:
                yield f'labels: "{name}" is no class: it means voxels that are not to be looked at'
            if letters(name) in known:
                yield f'labels: "{known[letters(name)]}" and "{name}" cannot be told apart; each class has its own name'
            known[letters(name)] = name

    def _wrong_lesions(self) -> Iterator[str]:
        for name, hosts in self.lesions.items():
            yield from self._unknown("lesions", (name, *hosts))
            if not hosts:
                yield f'lesions: "{name}" lies in no organ; name the organs that it may lie in'
            if within := [host for host in hosts if host in self.lesions]:
                yield f'lesions: "{name}" cannot lie in "{within[0]}", which is a lesion itself; name organs'
        if self.lesions and len(self.lesions) >= len(self.names) - 1:
            yield "lesions: every class is a lesion; the organs that they lie in have to be classes, too"

    def _wrong_facts(self) -> Iterator[str]:
        paired = [name for pair in self.pairs for name in pair]
        for what, names in (("pairs", paired), ("region", self.region), ("islands", self.islands)):
            yield from self._unknown(what, names)
        yield from self._unknown("hollow", self.hollow)
        if twice := [name for name in paired if paired.count(name) > 1]:
            yield f'pairs: "{twice[0]}" stands there twice'
        if lesion := [name for name in self.region if name in self.lesions]:
            yield f'region: "{lesion[0]}" is a lesion; name the organs around which lesions lie'

    def _unknown(self, what: str, names: tuple[str, ...] | list[str]) -> Iterator[str]:
        for name in names:
            if name not in self.names[1:]:
                yield f'{what}: "{name}" is none of the classes {", ".join(self.names[1:])}'

    @cached_property
    def codes(self) -> tuple[int, ...]:
        """The classes that can be annotated and scored, without background."""
        return tuple(range(1, len(self.names)))

    @cached_property
    def lesion_codes(self) -> tuple[int, ...]:
        """Codes of the lesions, in increasing order; there may be none."""
        return self._codes_of(self.lesions)

    @cached_property
    def organs(self) -> tuple[int, ...]:
        """Codes of all classes that are no lesions, in increasing order."""
        return tuple(code for code in self.codes if code not in self.lesion_codes)

    @cached_property
    def region_codes(self) -> tuple[int, ...]:
        """Codes of the organs whose bounding box is where lesions lie."""
        return self._codes_of(self.region) or self.organs

    @cached_property
    def beyond_codes(self) -> tuple[int, ...]:
        """Codes of the organs that reach out of that region."""
        return tuple(code for code in self.organs if code not in self.region_codes)

    @cached_property
    def island_codes(self) -> tuple[int, ...]:
        """Codes of the classes of which small separate parts are no errors."""
        return self._codes_of(self.islands)

    @cached_property
    def hollow_codes(self) -> tuple[int, ...]:
        """Codes of the organs whose inside may be gas."""
        return self._codes_of(self.hollow)

    @cached_property
    def pair_codes(self) -> tuple[tuple[int, int], ...]:
        """Codes of the classes of both sides of the body, the right one first."""
        return tuple((self.names.index(right), self.names.index(left)) for right, left in self.pairs)

    def hosts(self, code: int) -> tuple[int, ...]:
        """Codes of the organs that a lesion lies in; none for a class that is no lesion."""
        return self._codes_of(self.lesions.get(self.names[code], ()))

    def code_of(self, name: str) -> int | None:
        """The code that a name means, background included; None if it means none of the classes.

        Upper and lower case, spaces, underscores, hyphens and brackets make no difference, and neither does the
        spelling where public data sets spell a class of the challenge differently.
        """
        if self.is_challenge:
            return code_of_name(name)
        by_letters = [code for code, own in enumerate(self.names) if letters(own) == letters(name)]
        if by_letters:
            return by_letters[0]
        meaning = code_of_name(name)
        alike = [code for code, own in enumerate(self.names) if meaning is not None and code_of_name(own) == meaning]
        return alike[0] if len(alike) == 1 else labels.BACKGROUND if meaning == labels.BACKGROUND else None

    @cached_property
    def is_challenge(self) -> bool:
        """Whether these are the classes of the challenge, with all that is known of them."""
        return self == FLARE23

    def in_words(self, codes: tuple[int, ...] | None = None) -> str:
        """Codes and names of some classes, for people; None for all."""
        return ", ".join(f"{code} {self.names[code]}" for code in (self.codes if codes is None else codes))

    def _codes_of(self, names: tuple[str, ...] | Mapping[str, object]) -> tuple[int, ...]:
        return tuple(sorted(self.names.index(name) for name in names))


def _named(codes: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(labels.NAMES[code] for code in codes)


_TUBES: Final = (labels.AORTA, labels.INFERIOR_VENA_CAVA, labels.ESOPHAGUS)
"""They continue into the chest: a box around them would contain heart and lungs."""

FLARE23: Final = LabelSet(
    names=labels.NAMES,
    lesions={labels.NAMES[labels.TUMOR]: _named(labels.ORGANS)},
    pairs=tuple((labels.NAMES[right], labels.NAMES[left]) for right, left in (labels.KIDNEYS, labels.ADRENAL_GLANDS)),
    region=_named(tuple(code for code in labels.ORGANS if code not in _TUBES)),
    hollow=_named(labels.HOLLOW_ORGANS),
    lung_is_background=True,
)
"""The classes of the FLARE 2023 challenge: 13 organs, and tumors in any of them."""
