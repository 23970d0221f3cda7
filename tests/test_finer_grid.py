"""What the comparison of grids takes from the report on the shipped weights."""

from benchmarks.finer_grid import table_of_lite
from benchmarks.leave_patients_out import FOLDS
from flare_infer.labels import CODES, NAMES


def test_every_number_of_lite_is_found_in_its_report() -> None:
    cases = {row["case"]: row for row in table_of_lite("case")}
    assert set(cases) == {name for names in FOLDS for name in names}
    classes = {row["class"]: row for row in table_of_lite("class")}
    assert list(classes) == [NAMES[code] for code in CODES]
    for name, row in classes.items():
        scores = [float(case[name]) for case in cases.values() if case[name]]
        assert len(scores) == int(row["cases"])
        assert abs(sum(scores) / len(scores) - float(row["mean DSC"])) < 0.006, "cases have two digits"
