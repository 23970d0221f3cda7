"""What a worker takes along of the ledger: the record of one case."""

from dataclasses import asdict, replace
from pathlib import Path

from flare_infer.files.hashing import sha256_of_file
from flare_infer.runs.report import CaseRecord, LabelMap


class Notes:
    """The records of a single case (`flare_infer.runs.report.Records`), which go back with the answer.

    Args:
        record: how the case stands.
        label_maps: its label maps that are known.
    """

    def __init__(self, record: CaseRecord, label_maps: frozenset[LabelMap]) -> None:
        self.never_ended: dict[str, int] = {}
        self.case = record
        self._label_maps = {label_map.output_sha256: label_map for label_map in label_maps}

    def record(self, name: str) -> CaseRecord:
        """How the case stands."""
        return self.case

    def known(self, name: str, output: Path) -> LabelMap | None:
        """The label map that lies at `output`, if it is one that we wrote and that was not changed since."""
        return self._label_maps.get(sha256_of_file(output)) if self._label_maps else None

    def done_before(self, name: str, label_map: LabelMap) -> None:
        """There is nothing to do."""
        self.case = replace(self.case, status="done before", reason="", **asdict(label_map))

    def started(self, name: str) -> None:
        """The case begins; the ledger has counted that already."""

    def written(self, name: str, label_map: LabelMap) -> None:
        """A label map is whole and about to get its final name."""
        self.case = replace(self.case, **asdict(label_map))
        self._label_maps[label_map.output_sha256] = label_map

    def ended(self, record: CaseRecord) -> None:
        """The case has come to an end, good or bad."""
        self.case = record

    def refresh(self) -> bool:
        """There is nothing that others would note here."""
        return False
