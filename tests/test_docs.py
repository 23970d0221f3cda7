"""What docstrings say of the docs, and what the docs say of the code: whatever is cited or named exists.

Each rule is a function from files to findings, one line each; below the rules stand tiny files that break them.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import pytest

from tests.test_architecture import ORDER, OURS, ROOT

PAPER = "docs/paper.md"
CITABLE = (PAPER, "weights/lite/LOG.md")
"""Documents whose sections are cited as `docs/paper.md, Merge-max`."""

DOCUMENTS = ("README.md", "docs/**/*.md", "weights/**/*.md", "CONTRIBUTING.md", "SECURITY.md")
"""What is true now; the changelog and the reports of benchmarks say what was, and keep the names of their time."""

MAP = "docs/how-it-works.md"
DECISIONS = "docs/decisions"

Files = Mapping[str, str]
"""Text by path from the root; of a file whose text does not matter it is empty."""

Rule = Callable[[Files], Iterator[str]]


def house() -> Files:
    documents = [path for pattern in DOCUMENTS for path in ROOT.glob(pattern)]
    sources = [path for folder in OURS for path in (ROOT / folder).rglob("*.py")]
    tables = list((ROOT / "tests" / "mutants" / "tables").glob("*.toml"))
    here = Path(__file__).resolve()
    read = [path for path in (*documents, *sources, *tables) if path != here]
    named = {path.relative_to(ROOT).as_posix(): "" for path in ROOT.rglob("*") if is_ours(path)}
    return named | {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in read}


def is_ours(path: Path) -> bool:
    return not any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(ROOT).parts)


def headings(text: str) -> list[str]:
    return re.findall(r"^#{2,3} (.+)$", text, re.MULTILINE)


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def documents(files: Files) -> Iterator[tuple[PurePosixPath, str]]:
    return ((PurePosixPath(path), text) for path, text in files.items() if path.endswith(".md") and text)


def cited_sections(files: Files) -> Iterator[str]:
    """`docs/paper.md, ` is followed by the words of one of its headings, in whatever file and over line ends."""
    for path, text in files.items():
        words = re.sub(r"\s+(?:# )?", " ", text)
        for document in CITABLE:
            for citation in re.finditer(rf"{re.escape(document)}, ", words):
                after = words[citation.end() :]
                known = (re.match(rf"{re.escape(heading)}(?!\w)", after) for heading in headings(files[document]))
                if not any(known):
                    yield f"{path}: {document} has no section {after[:40]!r}"


def decisions(files: Files) -> Iterator[str]:
    """A decision is dated, has a status, and stands in the index; one that a source cites by its number is there."""
    pages = {path: text for path, text in files.items() if re.fullmatch(rf"{DECISIONS}/\d{{4}}-.*\.md", path)}
    index = files[f"{DECISIONS}/README.md"]
    for path, text in pages.items():
        status = re.search(r"^\*(Accepted|Superseded by .+), (\d{4}-\d\d-\d\d)\.", text, re.MULTILINE)
        row = next((line for line in index.splitlines() if f"({path.rpartition('/')[2]})" in line), "")
        if not status:
            yield f"{path}: no line such as *Accepted, 2026-11-24.*"
        elif f"{status[2]} | {status[1].lower()}" not in row:
            yield f"{DECISIONS}/README.md: no row for {path} with its date and status"
    for path, text in files.items():
        for cited in re.findall(rf"{DECISIONS}/\d{{4}}", text):
            if not any(page.startswith(cited) for page in pages):
                yield f"{path}: there is no {cited}"


def numbered_sections(files: Files) -> Iterator[str]:
    """`section 2.2` in a package is a section that the paper has."""
    line = next((line for line in files[PAPER].splitlines() if line.startswith("Sections of the paper")), "")
    known = set(re.findall(r"\d(?:\.\d)?", line))
    for path, text in files.items():
        if path.split("/")[0] in ORDER:
            for number in re.findall(r"\bsections? (\d+(?:\.\d+)?)", text):
                if number not in known:
                    yield f"{path}: the paper has no section {number}"


def sections_name_modules(files: Files) -> Iterator[str]:
    """Every section of docs/paper.md says which module does it."""
    for section in re.split(r"^## ", files[PAPER], flags=re.MULTILINE)[1:]:
        title = section.splitlines()[0]
        modules = re.search(r"^- \*\*Modules\*\*: .*`[\w/]+\.py`", section, re.MULTILINE)
        if not modules and title != "Results of the paper":
            yield f"{PAPER}: {title} names no module"


def named_modules(files: Files) -> Iterator[str]:
    """`segment/decode`, `flare_infer/segment/decode.py` and `flare_infer.segment.decode` are there."""
    for path, text in documents(files):
        spans = re.findall(r"`([^`\n]+)`", text)
        full = re.findall(rf"\b(?:{'|'.join(sorted(OURS))})/[\w/]+\.py\b", text)
        dotted = re.findall(r"-m ([a-z_]+(?:\.[a-z_]+)*)", text) + [span for span in spans if "/" not in span]
        for name in (*full, *(span for span in spans if "/" in span), *dotted):
            if is_name_of_ours(name) and not is_there(name, files):
                yield f"{path}: there is no {name}"


def is_name_of_ours(name: str) -> bool:
    """Whether a text is written as modules are: a path from a package or from one of its folders, or with dots."""
    if re.fullmatch(r"[a-z_]+(?:/[a-z_]+)+(?:\.py)?", name):
        return name.partition("/")[0] in {*OURS, *(folder for folders in ORDER.values() for folder in folders)}
    is_dotted = re.fullmatch(r"[a-z_]+(?:\.[a-z_]+)+", name) is not None
    return is_dotted and name.partition(".")[0] in OURS and not name.endswith((".py", ".md"))


def is_there(name: str, files: Files) -> bool:
    if "/" not in name:  # a module, and what is in it
        parts = name.split(".")
        return any(is_there("/".join(parts[:length]), files) for length in range(2, len(parts) + 1))
    starts = ("", *(f"{start}{package}/" for package in ORDER for start in ("", "tests/")))
    stems = [f"{start}{name.removesuffix('.py')}" for start in starts]
    return any(f"{stem}.py" in files or f"{stem}/__main__.py" in files or stem in files for stem in stems)


def links(files: Files) -> Iterator[str]:
    """A link to a file of ours leads to it, and to a heading in it."""
    for path, text in documents(files):
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            target, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link):
                continue
            aimed = joined(path.parent, target) if target else path.as_posix()
            if aimed not in files:
                yield f"{path}: no file {link}"
            elif anchor and files[aimed] and anchor not in {slug(heading) for heading in headings(files[aimed])}:
                yield f"{path}: no heading {link}"


def joined(folder: PurePosixPath, target: str) -> str:
    parts: list[str] = list(folder.parts)
    for part in PurePosixPath(target).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def folder_map(files: Files) -> Iterator[str]:
    """The map for newcomers has the folders that ORDER has, in its order."""
    listed: dict[str, list[str]] = {}
    for line in files[MAP].splitlines():
        if head := re.match(r"\| `(\w+)` \| what is in it \|", line):
            rows = listed.setdefault(head[1], [])
        elif (row := re.match(r"\| `(\w+)` \| ", line)) and listed:
            rows.append(row[1])
        elif line.startswith("## From"):
            break
    for package, folders in ORDER.items():
        if listed.get(package) != list(folders):
            yield f"{MAP}: the folders of {package} are {', '.join(folders)}"


INDEX = f"{DECISIONS}/README.md"
NOTHING = dict.fromkeys(CITABLE, "")
LOSS = "## Loss\n- **Modules**: `train/loss/dice_ce.py`\n"

BROKEN: Sequence[tuple[Rule, Files, str]] = [
    (cited_sections, {**NOTHING, PAPER: LOSS, "train/a.py": '"""Sum (docs/paper.md, Lost)."""'}, "no section 'Lost"),
    (cited_sections, {**NOTHING, PAPER: LOSS, "train/a.py": "# docs/paper.md, Lossy"}, "no section 'Lossy"),
    (
        cited_sections,
        {**NOTHING, "weights/lite/LOG.md": "## The recipe", "a.py": "# weights/lite/LOG.md, The\n# size"},
        "has no section 'The size",
    ),
    (
        numbered_sections,
        {PAPER: "Sections of the paper that may be cited: 2, 2.1.", "train/a.py": "(section 2.4)"},
        "train/a.py: the paper has no section 2.4",
    ),
    (decisions, {INDEX: "", "docs/decisions/0001-a.md": "# 1. A"}, "0001-a.md: no line such as"),
    (decisions, {INDEX: "| [A](0001-a.md) |", "docs/decisions/0001-a.md": "*Accepted, 2026-11-24.*"}, "no row for"),
    (decisions, {INDEX: "", "train/a.py": "(docs/decisions/0004)"}, "train/a.py: there is no docs/decisions/0004"),
    (sections_name_modules, {PAPER: "## Loss\n- **Here**: `train/loss/dice_ce.py`"}, "Loss names no module"),
    (named_modules, {"docs/a.md": "see train/loss/dice.py"}, "docs/a.md: there is no train/loss/dice.py"),
    (named_modules, {"docs/a.md": "`segment/skip` does"}, "there is no segment/skip"),
    (named_modules, {"docs/a.md": "python -m benchmarks.gone A", "benchmarks/a.py": ""}, "no benchmarks.gone"),
    (named_modules, {"docs/a.md": "`train.recipes.gone`", "train/recipes/recipe.py": ""}, "no train.recipes.gone"),
    (links, {"docs/a.md": "[b](decisions/b.md)", "decisions/b.md": ""}, "docs/a.md: no file decisions/b.md"),
    (links, {"docs/a.md": "[b](../b.md#two)", "b.md": "## One"}, "docs/a.md: no heading ../b.md#two"),
]
"""Rule, files that break it, and words of the finding."""

ALLOWED: Sequence[tuple[Rule, Files]] = [
    (
        cited_sections,
        {
            **NOTHING,
            PAPER: "## Data cleaning\n## Loss",
            "train/a.py": '"""Rules (docs/paper.md, Data\n    cleaning; docs/paper.md, Loss); see docs/paper.md."""',
        },
    ),
    (numbered_sections, {PAPER: "Sections of the paper that may be cited: 2.", "tests/a.py": "section 9"}),
    (
        decisions,
        {
            INDEX: "| 1 | [A](0001-a.md) | 2026-11-24 | accepted |",
            "docs/decisions/0001-a.md": "# 1. A\n\n*Accepted, 2026-11-24. It replaces B.*",
            "train/a.py": "(docs/decisions/0001)",
        },
    ),
    (sections_name_modules, {PAPER: f"{LOSS}## Results of the paper\nDSC."}),
    (
        named_modules,
        {
            "docs/a.md": "`segment/decode`, `train.loss.dice_ce.SMOOTH`, `run/fine`, `train.py`, python -m tests.fuzz",
            "flare_infer/segment/decode.py": "",
            "train/loss/dice_ce.py": "",
            "tests/fuzz/__main__.py": "",
        },
    ),
    (
        links,
        {
            "docs/d/a.md": "[b](../b.md#the-1-of-3) [c](https://a.b) [d](#here)\n## Here",
            "docs/b.md": "## The 1 of 3",
        },
    ),
]
"""Rule, and files that it must leave alone."""

RULES = (*dict.fromkeys(rule for rule, _, _ in BROKEN), folder_map)


@pytest.fixture(scope="module")
def files() -> Files:
    return house()


@pytest.mark.parametrize("rule", RULES)
def test_the_docs_hold(rule: Rule, files: Files) -> None:
    findings = list(rule(files))
    assert not findings, "\n" + "\n".join(findings)


@pytest.mark.parametrize(("rule", "files", "finding"), BROKEN)
def test_the_rule_finds_what_breaks_it(rule: Rule, files: Files, finding: str) -> None:
    findings = list(rule(files))
    assert len(findings) == 1
    assert finding in findings[0]


@pytest.mark.parametrize(("rule", "files"), ALLOWED)
def test_the_rule_leaves_the_rest_alone(rule: Rule, files: Files) -> None:
    assert list(rule(files)) == []


def test_a_map_in_another_order_is_found(files: Files) -> None:
    rows = "| `exports` | label maps as DICOM SEG, RTSTRUCT, masks and color tables |\n"
    assert rows in files[MAP]
    assert list(folder_map({MAP: files[MAP].replace(rows, "")})) == [
        f"{MAP}: the folders of flare_infer are {', '.join(ORDER['flare_infer'])}"
    ]


def test_docstrings_cite_the_paper(files: Files) -> None:
    cited = {path for path, text in files.items() if path.split("/")[0] in ORDER and f"{PAPER}, " in text}
    assert len(cited) > 10
