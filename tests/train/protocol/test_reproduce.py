"""docs/reproduce.md lists the stages; they are those of the protocol, in its order, with its commands."""

from pathlib import Path

from train.protocol.config import Config, Counts, Data, Machine, Pseudo, Test
from train.protocol.stages import pipeline_stages

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "reproduce.md"
COUNTS = Counts(labeled=2250, lacking=900, tumors=1300, unlabeled=1800, tests={"validation": 50})


def test_the_stages_of_the_document_are_those_of_the_protocol() -> None:
    config = Config(
        run=Path("/run"),
        data=Data(dataset=Path("/labeled"), unlabeled=Path("/unlabeled")),
        pseudo=Pseudo(organs=("fine", "/others"), tumor=("fine", "/others")),
        test=(Test(name="validation", images=Path("/images"), labels=Path("/labels")),),
        machine=Machine(device="cuda", workers=8),
    )
    rows = []
    for line in DOCUMENT.read_text().partition("## The weights that ship")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 2 and cells[1].startswith("`flare-"):
            rows.append((cells[0], cells[1].strip("`").split()[:2]))
    assert rows == [(stage.name, list(stage.command[:2])) for stage in pipeline_stages(config, COUNTS)]
