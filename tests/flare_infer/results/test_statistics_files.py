"""statistics.json and the table: what is written can be read, and what is damaged is refused."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flare_infer import labels
from flare_infer.errors import ReportError
from flare_infer.results.case import CaseStatistics
from flare_infer.results.statistics import statistics_of
from flare_infer.results.statistics_files import (
    COLUMNS,
    as_fields,
    read_statistics,
    table_rows,
    table_text,
    write_statistics,
)
from tests.flare_infer.results.phantom import boxes, case_of


@pytest.fixture(scope="module")
def statistics() -> CaseStatistics:
    labels_zyx = boxes(
        (10, 12, 12), liver=(slice(0, 9), slice(1, 9), slice(1, 9)), tumor=(slice(3, 5), slice(3, 6), slice(3, 6))
    )
    return statistics_of(case_of(labels_zyx, confidence={labels.LIVER: 2 / 3}))


def test_what_is_written_is_read(statistics: CaseStatistics, tmp_path: Path) -> None:
    path = tmp_path / "statistics.json"
    write_statistics(path, statistics, {"model": "lite"})
    found = read_statistics(path)
    assert as_fields(found) == as_fields(statistics)
    assert found.lesions[0].organ == "liver"
    assert found.flags == statistics.flags
    content = json.loads(path.read_text())
    assert content["format"] == "flare-infer statistics 1"
    assert content["made_with"] == {"model": "lite"}
    assert content["classes"][0]["confidence"] == 0.6667


def changed(**changes: Any) -> Any:
    return lambda content: content | changes


@pytest.mark.parametrize(
    "damage",
    [
        changed(format="flare-infer statistics 9"),
        changed(classes=[{"name": "liver"}]),
        changed(classes=[{"name": "liver", "code": "1", "volume_ml": 1.0}]),
        changed(classes=[{"name": "liver", "code": 1, "volume_ml": "much"}]),
        changed(classes=[{"name": "liver", "code": 1, "volume_ml": 1.0, "center_mm": [1.0, 2.0]}]),
        changed(classes=[{"name": "liver", "code": 1, "volume_ml": 1.0, "intensities": {"mean": 1.0}}]),
        changed(lesions=7),
        changed(flags=["organ cut"]),
        changed(phase=None),
    ],
)
def test_what_is_damaged_is_refused_by_name(damage: Any, statistics: CaseStatistics, tmp_path: Path) -> None:
    path = tmp_path / "statistics.json"
    write_statistics(path, statistics)
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(ReportError, match=r"statistics\.json"):
        read_statistics(path)


def test_no_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="no such file"):
        read_statistics(tmp_path / "statistics.json")


def test_the_table_has_the_scan_every_class_and_every_lesion(statistics: CaseStatistics) -> None:
    rows = list(csv.DictReader(io.StringIO(table_text(table_rows(statistics)))))
    assert list(rows[0]) == list(COLUMNS)
    assert [row["kind"] for row in rows] == ["scan", *["class"] * len(labels.CODES), "lesion"]
    assert {row["case"] for row in rows} == {"phantom"}
    liver, spleen, lesion = rows[1], rows[3], rows[-1]
    # 9 x 8 x 8 voxels of 1 mm without the lesion's 18, from z 0 on: the scan cuts it.
    assert (liver["name"], liver["volume_ml"], liver["cut"]) == ("liver", "0.558", "yes")
    assert liver["flags"] == "organ cut"
    assert (liver["extent_head_foot_mm"], liver["extent_left_right_mm"]) == ("9.0", "8.0")
    assert (spleen["volume_ml"], spleen["left_mm"]) == ("0.0", "")
    assert (lesion["number"], lesion["organ"], lesion["volume_ml"]) == ("1", "liver", "0.018")
    assert (float(lesion["left_mm"]), float(lesion["superior_mm"])) == (4.0, 3.5)
    assert float(lesion["longest_axial_mm"]) == pytest.approx(np.hypot(3, 2), abs=0.01)
