"""The house's laws, held by reading the source: nothing is imported or run.

Each rule is a function from sources to findings, one line each with file and line. Below the rules stand tiny sources
that break them, so that a rule that stopped looking would fail here too, and some that look bad but are allowed.
"""

import ast
import graphlib
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

MAY_IMPORT = {
    "flare_infer": {"flare_infer"},
    "flare_eval": {"flare_eval", "flare_infer"},
    "train": {"train", "flare_eval", "flare_infer"},
}
"""Which of our folders each package may import."""

OURS = {*MAY_IMPORT, "tests", "scripts", "benchmarks"}

LEVELS: Mapping[str, tuple[str, ...]] = {
    "ground": (
        *("__init__", "errors", "labels", "geometry", "json_file", "class_names", "annotated", "allocator"),
        *("interrupt", "file_hash", "keep_old", "to_disk", "standard_streams", "cores", "neighbors"),
    ),
    "records": ("network_numbers", "spec", "model_file", "volume", "device", "plan"),
    "rooms": (
        *("formats", "formats.orthonormal", "formats.credible", "formats.stored", "formats.nifti"),
        *("formats.itk_header", "formats.metaimage", "formats.nrrd", "formats.doubts", "formats.foreign"),
        *("volume_io", "hounsfield", "label_values", "sides"),
        *("orient", "padding", "body", "resample", "spline", "normalize", "windows", "skip"),
        *(
            "sliding",
            "decode",
            "certain",
            "fragments",
            "network",
            "torch_network",
            "openvino_network",
            "ensemble",
            "fingerprint",
            "weights",
        ),
        *("nnunet", "nnunet.architecture", "nnunet.plans", "nnunet.checkpoint", "nnunet.names"),
        *("measure", "command_line", "out_of_memory", "runs", "runs.outputs_lock", "runs.report"),
    ),
    "composition": (
        *("field_of_view", "preprocess", "runner", "budget", "segmenter"),
        *("runs.case_result", "runs.identity", "runs.ledger", "runs.bookkeeping"),
        *(
            "model_facts",
            "case_files",
            "output_folder",
            "folder",
            "picture",
            "terminal",
            "nnunet.importing",
            "nnunet.exporting",
            "cli",
            "__main__",
        ),
    ),
}
"""Every module of flare_infer; each imports only levels above its own."""

IN_ORDER = {"ground", "composition"}
"""Levels whose modules may also import the earlier ones of their own level."""

EXCEPTIONS = {
    ("sliding", "ensemble"): "it says what sliding runs",
    ("spec", "network_numbers"): "a specification holds the numbers of its network",
    ("model_file", "spec"): "model.json holds a specification, and the hash of the weights beside it",
    ("sliding", "skip"): "sliding asks skip of every window",
    ("runs.outputs_lock", "volume_io"): "it removes the half-written files that volume_io leaves when it is killed",
    ("runs.report", "volume_io"): "its half-written files bear the same kind of name, and are removed with the others",
    ("volume_io", "formats.nifti"): "volume_io asks the room of a file's format what its header says",
    ("volume_io", "formats.metaimage"): "as above",
    ("volume_io", "formats.nrrd"): "as above",
    ("volume_io", "formats.stored"): "volume_io reads the block of voxels that a header describes",
    ("formats.nifti", "formats.credible"): "how far from the scanner a coordinate may be",
    ("formats.nifti", "formats.stored"): "a header describes a block of voxels",
    ("formats.metaimage", "formats.stored"): "as above",
    ("formats.nrrd", "formats.stored"): "as above",
    ("volume_io", "formats.itk_header"): "volume_io asks ITK where a NIfTI header puts a volume",
    ("formats.itk_header", "formats.nifti"): "it asks ITK of a header that nifti has read",
    ("formats.itk_header", "formats.orthonormal"): "it repairs the axes of a header that ITK refuses",
    ("formats.itk_header", "formats.credible"): "or refuses them",
    ("volume_io", "formats.credible"): "volume_io lets pass only what a scanner can have measured",
    ("formats.credible", "formats.orthonormal"): "axes are credible as far as they can be squared up",
    ("body", "padding"): "padding as bright as tissue is no body",
    ("sliding", "windows"): "sliding walks the windows that windows lays out, and weighs them by its importance map",
    ("volume_io", "formats.doubts"): "volume_io hands on what speaks against a header",
    ("volume_io", "formats.foreign"): "volume_io says what a folder without images holds",
    ("formats.doubts", "formats.nifti"): "it compares what a NIfTI header says twice",
    ("formats.doubts", "formats.orthonormal"): "sheared axes are no spacings",
    ("formats.metaimage", "formats.doubts"): "a header may hold a note of ITK's that slices are not equally spaced",
    ("formats.nrrd", "formats.doubts"): "as above",
    ("formats.nifti", "formats.foreign"): "a file that is no NIfTI is called by its name",
    ("torch_network", "network"): "it makes that network ready to infer, part by part",
    ("openvino_network", "network"): "it translates that network, part by part",
    ("weights", "network"): "weights hands out a live network, and its names of tensors are the network's",
    ("weights", "fingerprint"): "weights are used only if their bytes have the recorded hash",
    ("weights", "ensemble"): "several folds in one file load as one network",
    ("nnunet.plans", "nnunet.architecture"): "a plan names an architecture in its own words, read by itself",
}
"""Imports within a level that are allowed all the same: (importer, imported), with the reason."""

MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 7
CASE_BOUNDARY = "flare_infer/folder.py"
LABELS = "flare_infer/labels.py"
PYPROJECT = "pyproject.toml"


@dataclass(frozen=True)
class Source:
    """One file: its path from the root, with slashes, and its text."""

    path: str
    text: str

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the file, the module first."""
        return list(ast.walk(ast.parse(self.text, self.path)))

    @property
    def package(self) -> str:
        return self.path.split("/")[0]

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def at(self, where: ast.AST | int, finding: str) -> str:
        line = where if isinstance(where, int) else getattr(where, "lineno", 1)
        return f"{self.path}:{line}: {finding}"


Sources = Sequence[Source]
Rule = Callable[[Sources], Iterator[str]]


def house() -> Sources:
    paths = [path for folder in sorted(OURS) for path in sorted((ROOT / folder).rglob("*.py"))]
    paths.append(ROOT / PYPROJECT)
    return [Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in paths]


def packages(sources: Sources) -> Sources:
    return [source for source in sources if source.package in MAY_IMPORT]


def functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in source.nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imports(source: Source, modules: set[str]) -> Iterator[tuple[str, int]]:
    """Dotted name and line of all that a file imports, at any depth; `from a import b` is a.b if that is a module."""
    for node in source.nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            here = source.path.removesuffix(".py").split("/")
            base = ".".join([*(here[: -node.level] if node.level else []), *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield (full if full in modules else base), node.lineno


def direction(sources: Sources) -> Iterator[str]:
    for source in packages(sources):
        for target, line in imports(source, set()):
            top = target.split(".")[0]
            if top in OURS - MAY_IMPORT[source.package]:
                yield source.at(line, f"{source.package} may not import {top}")


def no_cycle(sources: Sources) -> Iterator[str]:
    modules = {source.module: source for source in packages(sources)}
    edges: dict[str, dict[str, int]] = {
        name: {target: line for target, line in imports(source, set(modules)) if target in modules}
        for name, source in modules.items()
    }
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        cycle = list(reversed(error.args[1]))  # graphlib lists predecessors first: reversed, each imports the next
        yield modules[cycle[0]].at(edges[cycle[0]][cycle[1]], f"import cycle {' -> '.join(cycle)}")


def levels(sources: Sources) -> Iterator[str]:
    order = list(LEVELS)
    place = {name: (order.index(level), rank) for level, names in LEVELS.items() for rank, name in enumerate(names)}
    inside = [source for source in sources if source.package == "flare_infer"]
    modules = {source.module for source in inside}
    for source in inside:
        name = name_in_flare_infer(source.module)
        if name not in place:
            yield source.at(1, f"{name} is in no level; list it in LEVELS")
            continue
        own, rank = place[name]
        for target, line in imports(source, modules):
            other = name_in_flare_infer(target)
            if target.split(".")[0] != "flare_infer" or other not in place or (name, other) in EXCEPTIONS:
                continue
            level, other_rank = place[other]
            if not (level < own or (level == own and order[own] in IN_ORDER and other_rank < rank)):
                yield source.at(line, f"{name} ({order[own]}) may not import {other} ({order[level]})")


def name_in_flare_infer(module: str) -> str:
    return module.partition(".")[2] or "__init__"


def module_length(sources: Sources) -> Iterator[str]:
    for source in packages(sources):
        lines = len(source.text.splitlines())
        if lines > MAX_MODULE_LINES:
            yield source.at(lines, f"{lines} lines, at most {MAX_MODULE_LINES}")


def function_length(sources: Sources) -> Iterator[str]:
    for source in packages(sources):
        for node in functions(source):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield source.at(node, f"{node.name} has {lines} lines, at most {MAX_FUNCTION_LINES}")


def parameter_count(sources: Sources) -> Iterator[str]:
    for source in packages(sources):
        for node in functions(source):
            every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
            names = [argument.arg for argument in every if argument and argument.arg not in {"self", "cls"}]
            if len(names) > MAX_PARAMETERS and not is_command(source, node):
                yield source.at(node, f"{node.name} takes {len(names)} parameters, at most {MAX_PARAMETERS}")


def is_command(source: Source, node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether typer turns the parameters into options, of which a command has as many as it needs."""
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    return source.path.endswith("/cli.py") and any(".command(" in text or ".callback(" in text for text in decorators)


def no_assert(sources: Sources) -> Iterator[str]:
    for source in packages(sources):
        yield from (
            source.at(node, "assert; raise one of our errors") for node in source.nodes if isinstance(node, ast.Assert)
        )


def no_broad_except(sources: Sources) -> Iterator[str]:
    for source in packages(sources):
        allowed = source.path == CASE_BOUNDARY
        for node in source.nodes:
            if not isinstance(node, ast.ExceptHandler):
                continue
            types = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            names = {ast.unparse(kind).split(".")[-1] if kind else "everything" for kind in types}
            if names == {"Exception"} and allowed:
                allowed = False  # there is one case boundary
            elif names & {"Exception", "BaseException", "everything"}:
                yield source.at(node, f"broad except; the one allowed is `except Exception` in {CASE_BOUNDARY}")


def docstring(sources: Sources) -> Iterator[str]:
    for source in packages(sources):
        module = source.nodes[0]
        if not isinstance(module, ast.Module) or not ast.get_docstring(module):
            yield source.at(1, "the module has no docstring")


def torch_load(sources: Sources) -> Iterator[str]:
    for source in sources:
        if source.path.endswith(".py"):
            loads = set(names_of_torch_load(source))
            for node in source.nodes:
                if isinstance(node, ast.Call) and ast.unparse(node.func) in loads and not has_weights_only(node):
                    yield source.at(node, "torch.load without weights_only=True runs code from the file")


def names_of_torch_load(source: Source) -> Iterator[str]:
    """The names under which a file can call torch.load."""
    yield "torch.load"
    for node in source.nodes:
        if isinstance(node, ast.Import):
            yield from (f"{alias.asname}.load" for alias in node.names if alias.name == "torch" and alias.asname)
        elif isinstance(node, ast.ImportFrom) and node.module == "torch":
            yield from (alias.asname or alias.name for alias in node.names if alias.name == "load")


def has_weights_only(call: ast.Call) -> bool:
    return any(
        word.arg == "weights_only" and isinstance(word.value, ast.Constant) and word.value.value is True
        for word in call.keywords
    )


def class_count(sources: Sources) -> Iterator[str]:
    for source in packages(sources):
        for node in source.nodes:
            value = node.value if isinstance(node, ast.Constant) else None
            if source.path != LABELS and type(value) is int and value in {14, 15}:
                yield source.at(node, f"the number {value} stands only in {LABELS}; take it from there")


def packages_listed(sources: Sources) -> Iterator[str]:
    text = next(source.text for source in sources if source.path == PYPROJECT)
    listed = tomllib.loads(text)["tool"]["setuptools"]["packages"]
    for source in packages(sources):
        name = source.path.rpartition("/")[0].replace("/", ".")
        if source.path.endswith("/__init__.py") and name not in listed:
            yield source.at(1, f"{name} is missing from [tool.setuptools] packages in {PYPROJECT}")


SEVEN = "a, b, c, d, e, f, g"
LISTED = '[tool.setuptools]\npackages = ["train"]\n'

BROKEN: Sequence[tuple[Rule, Mapping[str, str], str]] = [
    (
        direction,
        {"flare_infer/a.py": "import flare_eval.b"},
        "flare_infer/a.py:1: flare_infer may not import flare_eval",
    ),
    (direction, {"flare_infer/a.py": "\ndef f():\n    from train import b"}, "flare_infer/a.py:3: flare_infer may not"),
    (direction, {"flare_eval/a.py": "from train.b import c"}, "flare_eval may not import train"),
    (direction, {"train/a.py": "from tests.b import c"}, "train may not import tests"),
    (
        no_cycle,
        {
            "train/a.py": "\nfrom train import b",
            "train/b.py": "import train.c",
            "train/c.py": "def f():\n from . import a",
        },
        " -> train.",
    ),
    (no_cycle, {"train/a.py": "def f():\n    from train.a import g"}, "train/a.py:2: import cycle train.a -> train.a"),
    (levels, {"flare_infer/new.py": ""}, "flare_infer/new.py:1: new is in no level"),
    (levels, {"flare_infer/sub/crop.py": ""}, "sub.crop is in no level"),
    (
        levels,
        {"flare_infer/padding.py": "\nfrom flare_infer import orient", "flare_infer/orient.py": ""},
        "flare_infer/padding.py:2: padding (rooms) may not import orient (rooms)",
    ),
    (levels, {"flare_infer/windows.py": "from flare_infer.sliding import f"}, "windows (rooms) may not import sliding"),
    (levels, {"flare_infer/spec.py": "from flare_infer.body import f"}, "spec (records) may not import body (rooms)"),
    (levels, {"flare_infer/spec.py": "import flare_infer.volume"}, "spec (records) may not import volume (records)"),
    (
        levels,
        {"flare_infer/labels.py": "from flare_infer.geometry import f"},
        "labels (ground) may not import geometry",
    ),
    (levels, {"flare_infer/folder.py": "def f():\n    from .cli import app"}, "flare_infer/folder.py:2: folder (comp"),
    (
        levels,
        {"flare_infer/__init__.py": "from flare_infer.errors import A"},
        "__init__ (ground) may not import errors",
    ),
    (module_length, {"train/a.py": "a = 1\n" * 301}, "train/a.py:301: 301 lines"),
    (function_length, {"train/a.py": "\ndef f():\n" + "    g()\n" * 60}, "train/a.py:2: f has 61 lines"),
    (parameter_count, {"train/a.py": f"def f({SEVEN}, h): ..."}, "train/a.py:1: f takes 8 parameters"),
    (parameter_count, {"train/a.py": f"class A:\n    def f(self, {SEVEN[:-3]}, *h, i): ..."}, "takes 8 parameters"),
    (parameter_count, {"train/a.py": f"@app.command()\ndef f({SEVEN}, h): ..."}, "takes 8 parameters"),
    (parameter_count, {"train/cli.py": f"async def f({SEVEN}, **h): ..."}, "takes 8 parameters"),
    (no_assert, {"flare_eval/a.py": "def f():\n    assert g()"}, "flare_eval/a.py:2: assert"),
    (no_broad_except, {"train/a.py": "try:\n    f()\nexcept:\n    pass"}, "train/a.py:3: broad except"),
    (no_broad_except, {"train/a.py": "try:\n    f()\nexcept (OSError, Exception):\n    pass"}, "broad except"),
    (no_broad_except, {"train/a.py": "try:\n    f()\nexcept builtins.BaseException:\n    pass"}, "broad except"),
    (no_broad_except, {CASE_BOUNDARY: "try:\n    f()\nexcept:\n    pass"}, "broad except"),
    (no_broad_except, {CASE_BOUNDARY: "try:\n    f()\nexcept Exception:\n    pass\n" * 2}, "folder.py:7: broad except"),
    (docstring, {"train/loss/__init__.py": ""}, "train/loss/__init__.py:1: the module has no docstring"),
    (docstring, {"flare_eval/a.py": '# A comment.\nimport json\n"""Too late."""'}, "no docstring"),
    (torch_load, {"benchmarks/a.py": "import torch\ntorch.load(f)"}, "benchmarks/a.py:2: torch.load without"),
    (torch_load, {"tests/a.py": "import torch as t\nt.load(f, weights_only=False)"}, "torch.load without"),
    (torch_load, {"scripts/a.py": "from torch import load as g\ng(f, weights_only=safe)"}, "torch.load without"),
    (class_count, {"flare_infer/a.py": "\nchannels = 15"}, "flare_infer/a.py:2: the number 15"),
    (class_count, {"train/a.py": "f(x[-14])"}, "the number 14"),
    (
        packages_listed,
        {PYPROJECT: LISTED, "train/loss/__init__.py": ""},
        "train/loss/__init__.py:1: train.loss is missing",
    ),
]
"""Rule, sources that break it, and words of the finding."""

ALLOWED: Sequence[tuple[Rule, Mapping[str, str]]] = [
    (direction, {"train/a.py": "import flare_eval.b\nfrom flare_infer import c\nimport training"}),
    (no_cycle, {"train/__init__.py": "", "train/a.py": "from train import b", "train/b.py": "from os import a"}),
    (
        levels,
        {"flare_infer/sliding.py": "from flare_infer.windows import f\nfrom flare_infer import labels, __version__"},
    ),
    (levels, {"flare_infer/cli.py": "from flare_infer.folder import f", "train/a.py": "import flare_infer.cli"}),
    (function_length, {"train/a.py": "def f():\n" + "    g()\n" * 59}),
    (parameter_count, {"train/cli.py": f"@app.command()\ndef f({SEVEN}, h): ..."}),
    (parameter_count, {"train/a.py": f"class A:\n    def f(self, {SEVEN}): ..."}),
    (no_assert, {"tests/a.py": "assert True"}),
    (no_broad_except, {CASE_BOUNDARY: "try:\n    f()\nexcept OSError:\n    pass\nexcept Exception:\n    pass"}),
    (torch_load, {"train/a.py": "import torch\ntorch.load(f, weights_only=True)\njson.load(f)"}),
    (class_count, {LABELS: "TUMOR = 14", "tests/a.py": "n = 15", "train/a.py": "a = 1e-15 + 140"}),
    (packages_listed, {PYPROJECT: LISTED, "train/__init__.py": "", "tests/__init__.py": ""}),
]
"""Rule, and sources that it must leave alone."""

RULES = list(dict.fromkeys(rule for rule, _, _ in BROKEN))


def drawn(files: Mapping[str, str]) -> Sources:
    return [Source(path, text) for path, text in files.items()]


@pytest.mark.parametrize("rule", RULES)
def test_the_house_holds(rule: Rule) -> None:
    findings = list(rule(house()))
    assert not findings, "\n" + "\n".join(findings)


@pytest.mark.parametrize(("rule", "files", "finding"), BROKEN)
def test_the_rule_finds_what_breaks_it(rule: Rule, files: Mapping[str, str], finding: str) -> None:
    findings = list(rule(drawn(files)))
    assert len(findings) == 1
    assert finding in findings[0]


@pytest.mark.parametrize(("rule", "files"), ALLOWED)
def test_the_rule_leaves_the_rest_alone(rule: Rule, files: Mapping[str, str]) -> None:
    assert list(rule(drawn(files))) == []


def test_every_package_is_read() -> None:
    assert {source.package for source in packages(house())} == set(MAY_IMPORT)


def test_every_exception_is_within_one_level_and_says_why() -> None:
    for pair, reason in EXCEPTIONS.items():
        assert any(set(pair) <= set(names) for names in LEVELS.values())
        assert reason
