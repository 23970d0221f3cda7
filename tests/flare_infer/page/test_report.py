"""The page of a case as a file: what is in it, and that nothing from files becomes more than text."""

import base64
import gzip
import hashlib
import json
import re
import sys
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from flare_infer import labels
from flare_infer.page.assets import NIIVUE_SHA256, NIIVUE_VERSION, niivue
from flare_infer.page.report import write_report
from flare_infer.results.case import Flag
from tests.flare_infer.page.cases import phantom_case, statistics_of

ATTACK = '<b onmouseover="x()">\'&</script><!--'
PACKAGE = Path(__file__).resolve().parents[3] / "flare_infer" / "page"


class Page(HTMLParser):
    """Tags with their attributes, scripts and styles with their texts, and all text together."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.blocks, self.words, self.inside = [], [], [], False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag in {"script", "style"}
        if self.inside:
            self.blocks.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            tag, attrs, text = self.blocks[-1]
            self.blocks[-1] = (tag, attrs, text + data)
        self.words.append(data)

    def block(self, identity):
        return next(text for _, attrs, text in self.blocks if attrs.get("id") == identity)


def page_of(tmp_path, case, statistics=None):
    path = tmp_path / "case.html"
    write_report(path, case, statistics or statistics_of(case))
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return page_of(tmp_path_factory.mktemp("page"), phantom_case())


def test_the_policy_names_every_script_and_style_by_its_hash_and_nothing_else(page):
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["connect-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        texts = [text for kind, attrs, text in page.blocks if kind == tag and "type" not in attrs]
        hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        assert rules[rule].split() == [f"'sha256-{one}'" for one in hashes]
    assert "unsafe" not in policy


def test_no_tag_has_a_handler_a_style_or_leads_elsewhere(page):
    for tag, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on") or name == "style"], (tag, attrs)
        for name in ("src", "href"):
            assert attrs.get(name, "data:").startswith(("data:", "#")), (tag, attrs)


def test_image_and_labels_are_in_the_page(page):
    facts = json.loads(page.block("facts"))
    assert facts["shape"] == [40, 40, 36]
    codes = np.frombuffer(zlib.decompress(base64.b64decode(page.block("labels"))), np.uint8)
    np.testing.assert_array_equal(codes.reshape(36, 40, 40), phantom_case().labels.array_zyx)
    assert len(zlib.decompress(base64.b64decode(page.block("image")))) == codes.size
    assert [one["name"] for one in facts["classes"]] == [labels.NAMES[code] for code in labels.CODES]


def test_measurements_lesions_and_how_it_was_made_are_shown(page):
    words = " ".join(" ".join(page.words).split())
    for expected in ("926", "101 (12)", "0.88", "31 x 25", "portal venous", "> 82", "lite", "options, precision bf16"):
        assert expected in words, expected
    assert "not a medical device" in words
    assert f"NiiVue {NIIVUE_VERSION}" in words


def test_hostile_texts_are_escaped_wherever_they_come_from(tmp_path):
    case = phantom_case(ATTACK)
    names = tuple(ATTACK if code == labels.LIVER else name for code, name in enumerate(labels.NAMES))
    case = replace(case, names=names, notices=(ATTACK,), made_with={ATTACK: [ATTACK], "more": {ATTACK: ATTACK}})
    statistics = statistics_of(case, [Flag(kind=ATTACK, reason=ATTACK)])
    lesion = replace(statistics.lesions[0], organ=ATTACK)
    found = page_of(tmp_path, case, replace(statistics, lesions=(lesion,), phase=ATTACK))
    assert "b" not in [tag for tag, _ in found.tags]
    assert len(found.blocks) == 6
    assert json.loads(found.block("facts"))["classes"][0]["name"] == ATTACK
    assert "".join(found.words).count(ATTACK) >= 12


def test_classes_that_were_not_found_are_named(tmp_path):
    case = phantom_case()
    array = case.labels.array_zyx.copy()
    array[array == labels.GALLBLADDER] = 0
    found = page_of(tmp_path, replace(case, labels=replace(case.labels, array_zyx=array)))
    assert "Not found: gallbladder." in " ".join("".join(found.words).split())
    empty = replace(case, labels=replace(case.labels, array_zyx=np.zeros_like(array)))
    found = page_of(tmp_path, empty)
    assert "No organ and no tumor was found." in "".join(found.words)


def test_intensities_that_are_no_hounsfield_units_have_no_such_columns_and_windows(tmp_path):
    found = page_of(tmp_path, replace(phantom_case(), in_hounsfield=False))
    words = "".join(found.words[:2000]).replace(found.block("facts"), "")
    assert "HU, mean" not in words
    assert [one["name"] for one in json.loads(found.block("facts"))["windows"]] == ["all gray values"]


def test_without_pillow_there_is_no_still_picture(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    found = page_of(tmp_path, phantom_case())
    assert "img" not in [tag for tag, _ in found.tags]
    assert found.block("image")


def test_the_viewer_is_the_one_that_npm_has():
    assert hashlib.sha256(niivue().encode()).hexdigest() == NIIVUE_SHA256
    note = (PACKAGE / "niivue" / "SOURCE.md").read_text(encoding="utf-8")
    assert NIIVUE_SHA256 in note
    assert f"@niivue/niivue@{NIIVUE_VERSION}" in note
    assert "Copyright (c) 2021, Niivue" in (PACKAGE / "niivue" / "LICENSE").read_text(encoding="utf-8")
    assert "</script" not in gzip.decompress((PACKAGE / "niivue" / "niivue.umd.js.gz").read_bytes()).decode()


def test_our_scripts_and_templates_write_no_markup_from_texts():
    for path in (PACKAGE / "assets").iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|\|\s*safe", text), path
        assert "\r" not in text
        assert not re.search(r"https?://", text), path
