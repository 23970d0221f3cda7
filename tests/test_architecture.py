"""The house's laws, held by reading the source: nothing is imported or run.

Each rule is a function from sources to findings, one line each with file and line. Below the rules stand tiny sources
that break them, so that a rule that stopped looking would fail here too, and some that look bad but are allowed.
"""

import ast
import graphlib
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ORDER: Mapping[str, tuple[str, ...]] = {
    "flare_infer": (
        "files",
        "shell",
        "model",
        "volume",
        "formats",
        "dicom",
        "backends",
        "segment",
        "results",
        "exports",
        "page",
        "runs",
        "cluster",
        "nnunet",
        "api",
        "commands",
    ),
    "flare_serve": ("jobs", "worker", "node", "web", "commands"),
    "flare_eval": ("label_maps", "accuracy", "efficiency", "reports", "commands"),
    "train": (
        "dataset",
        "store",
        "sampling",
        "augment",
        "loss",
        "recipes",
        "batches",
        "record",
        "fit",
        "export",
        "pseudo",
        "synth",
        "workflow",
        "protocol",
        "commands",
    ),
}
"""The law of imports: the packages and their folders in order; each imports only itself and those before it.

What lies in a package itself comes before its folders. Its doors are used from outside and belong to its last folder:
`__main__`, which Python starts, and `__init__`, which may offer names of any folder. So nothing inside may come in by
the door again, as `from flare_infer import segment` would.
"""

FOLDERS = tuple(
    folder for package, names in ORDER.items() for folder in (package, *(f"{package}.{name}" for name in names))
)
OURS = {*ORDER, "tests", "scripts", "benchmarks"}

MAX_MODULES = 16
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 7
CASE_BOUNDARY = "flare_infer/runs/case_steps.py"
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
    return [source for source in sources if source.package in ORDER]


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


def import_order(sources: Sources) -> Iterator[str]:
    inside = packages(sources)
    modules = {source.module for source in inside}
    for source in inside:
        own = place_of(source.module, is_init(source))
        if own not in FOLDERS:
            yield source.at(1, f"{own} is no folder of the house; give it its place in ORDER")
            continue
        for target, line in imports(source, modules):
            top = target.split(".")[0]
            other = place_of(target, target in FOLDERS)
            if top not in OURS or (other in FOLDERS and FOLDERS.index(other) <= FOLDERS.index(own)):
                continue
            yield source.at(line, f"{own} may not import {other if other in FOLDERS else top}")


def folder_of(module: str, is_folder: bool = False) -> str:
    """The folder that a module lies in, with dots."""
    return module if is_folder else module.rpartition(".")[0]


def place_of(module: str, is_folder: bool = False) -> str:
    """The folder to which a module counts in the order: its own, or the last one for a door of a package."""
    package = module.removesuffix(".__main__")
    return f"{package}.{ORDER[package][-1]}" if package in ORDER else folder_of(module, is_folder)


def folder_size(sources: Sources) -> Iterator[str]:
    counts = Counter(source.path.rpartition("/")[0] for source in packages(sources) if not is_init(source))
    for folder, count in counts.items():
        if count > MAX_MODULES:
            yield f"{folder}: {count} modules, at most {MAX_MODULES}"


def is_init(source: Source) -> bool:
    return source.path.endswith("/__init__.py")


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
    return "/commands/" in source.path and any(".command(" in text or ".callback(" in text for text in decorators)


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
        if is_init(source) and name not in listed:
            yield source.at(1, f"{name} is missing from [tool.setuptools] packages in {PYPROJECT}")


SEVEN = "a, b, c, d, e, f, g"
LISTED = '[tool.setuptools]\npackages = ["train"]\n'

BROKEN: Sequence[tuple[Rule, Mapping[str, str], str]] = [
    (import_order, {"flare_infer/a.py": "import flare_eval.b"}, "flare_infer/a.py:1: flare_infer may not import"),
    (
        import_order,
        {"flare_infer/runs/a.py": "\ndef f():\n    from train import b", "train/b.py": ""},
        "flare_infer/runs/a.py:3: flare_infer.runs may not import train",
    ),
    (
        import_order,
        {"flare_eval/commands/a.py": "from train.fit.b import c"},
        "flare_eval.commands may not import train",
    ),
    (import_order, {"train/fit/a.py": "from tests.b import c"}, "train.fit may not import tests"),
    (import_order, {"train/commands/a.py": "import benchmarks"}, "train.commands may not import benchmarks"),
    (import_order, {"flare_infer/new/a.py": ""}, "flare_infer/new/a.py:1: flare_infer.new is no folder"),
    (import_order, {"flare_infer/runs/deep/a.py": ""}, "flare_infer.runs.deep is no folder"),
    (
        import_order,
        {"flare_infer/model/a.py": "\nfrom flare_infer.volume import b", "flare_infer/volume/b.py": ""},
        "flare_infer/model/a.py:2: flare_infer.model may not import flare_infer.volume",
    ),
    (
        import_order,
        {"flare_infer/model/a.py": "from flare_infer.volume import f", "flare_infer/volume/__init__.py": ""},
        "flare_infer.model may not import flare_infer.volume",
    ),
    (
        import_order,
        {"flare_infer/labels.py": "from flare_infer.files.b import f"},
        "flare_infer may not import flare_infer.files",
    ),
    (
        import_order,
        {"flare_infer/runs/folder.py": "def f():\n    from ..commands.app import g"},
        "flare_infer/runs/folder.py:2: flare_infer.runs may not import flare_infer.commands",
    ),
    (import_order, {"train/differences.py": "from train.fit.loop import fit"}, "train may not import train.fit"),
    (import_order, {"train/__init__.py": "import tests"}, "train.commands may not import tests"),
    (
        import_order,
        {"flare_infer/__init__.py": "import train.problems"},
        "flare_infer.commands may not import train",
    ),
    (
        import_order,
        {"flare_infer/runs/__init__.py": "from flare_infer.api.model import segment"},
        "flare_infer.runs may not import flare_infer.api",
    ),
    (
        import_order,
        {"flare_infer/__init__.py": "", "flare_infer/runs/a.py": "from flare_infer import segment"},
        "flare_infer/runs/a.py:1: flare_infer.runs may not import flare_infer.commands",
    ),
    (
        import_order,
        {"flare_infer/__init__.py": "", "flare_infer/a.py": "import flare_infer"},
        "flare_infer may not import flare_infer.commands",
    ),
    (import_order, {"train/fit/a.py": "from train.__main__ import b"}, "train.fit may not import train.commands"),
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
    (
        folder_size,
        {f"train/fit/a{number}.py": "" for number in range(17)} | {"train/fit/__init__.py": ""},
        "train/fit: 17 modules, at most 16",
    ),
    (module_length, {"train/a.py": "a = 1\n" * 301}, "train/a.py:301: 301 lines"),
    (function_length, {"train/a.py": "\ndef f():\n" + "    g()\n" * 60}, "train/a.py:2: f has 61 lines"),
    (parameter_count, {"train/a.py": f"def f({SEVEN}, h): ..."}, "train/a.py:1: f takes 8 parameters"),
    (parameter_count, {"train/a.py": f"class A:\n    def f(self, {SEVEN[:-3]}, *h, i): ..."}, "takes 8 parameters"),
    (parameter_count, {"train/a.py": f"@app.command()\ndef f({SEVEN}, h): ..."}, "takes 8 parameters"),
    (parameter_count, {"train/commands/app.py": f"async def f({SEVEN}, **h): ..."}, "takes 8 parameters"),
    (no_assert, {"flare_eval/a.py": "def f():\n    assert g()"}, "flare_eval/a.py:2: assert"),
    (no_broad_except, {"train/a.py": "try:\n    f()\nexcept:\n    pass"}, "train/a.py:3: broad except"),
    (no_broad_except, {"train/a.py": "try:\n    f()\nexcept (OSError, Exception):\n    pass"}, "broad except"),
    (no_broad_except, {"train/a.py": "try:\n    f()\nexcept builtins.BaseException:\n    pass"}, "broad except"),
    (no_broad_except, {CASE_BOUNDARY: "try:\n    f()\nexcept:\n    pass"}, "broad except"),
    (
        no_broad_except,
        {CASE_BOUNDARY: "try:\n    f()\nexcept Exception:\n    pass\n" * 2},
        "case_steps.py:7: broad except",
    ),
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
    (
        import_order,
        {
            "train/fit/a.py": "import flare_eval.accuracy.b\nfrom flare_infer import c\nfrom flare_infer.runs import d",
            "train/fit/b.py": "from train.fit import a\nfrom train.fit.a import f\nimport training\nimport train.a",
        },
    ),
    (
        import_order,
        {
            "train/__main__.py": "from train.commands.app import main",
            "flare_infer/segment/a.py": "from flare_infer import labels",
            "flare_infer/__init__.py": "def __getattr__(name):\n    from flare_infer.api.model import segment",
            "flare_infer/labels.py": "from flare_infer.errors import f",
            "flare_infer/commands/a.py": "from flare_infer import __version__",
            "train/a.py": "import flare_infer",
        },
    ),
    (no_cycle, {"train/__init__.py": "", "train/a.py": "from train import b", "train/b.py": "from os import a"}),
    (folder_size, {f"train/fit/a{number}.py": "" for number in range(16)} | {"train/fit/__init__.py": ""}),
    (function_length, {"train/a.py": "def f():\n" + "    g()\n" * 59}),
    (parameter_count, {"train/commands/app.py": f"@app.command()\ndef f({SEVEN}, h): ..."}),
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
    assert {source.package for source in packages(house())} == set(ORDER)


def test_every_folder_of_the_order_is_there() -> None:
    folders = {folder_of(source.module, is_init(source)) for source in packages(house())}
    assert folders == set(FOLDERS)
