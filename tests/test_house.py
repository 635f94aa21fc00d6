"""The house: which room may import from which, held against the imports of every file."""

import ast
import importlib.machinery
import re
import subprocess
import sys
import sysconfig
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from shards.inputs import INPUTS
from shards.records import LabelKind

ROOT = Path(__file__).parents[1]
ROOMS = ("likeness", "shards", "trainer", "export", "deploy")
LARGEST = 22
"""Python files of one folder."""
TRAINING_DATA = ("shards.packing", "shards.worlds", "shards.judging", "shards.reading.stream")
NEVER = {
    "likeness/": ("shards", "trainer", "export", "deploy", "torch", "mlflow"),
    "shards/": ("trainer", "export", "deploy", "mlflow", "onnxruntime"),
    "trainer/": ("export", "deploy", "webdataset", "onnxruntime", "trainer.run"),
    "trainer/methods/": ("trainer.loop", "trainer.training"),
    "trainer/networks/": ("likeness", "shards", "trainer"),
    "trainer/players/": ("trainer.methods",),
    "trainer/ranks/": ("trainer.methods",),
    "export/": ("webdataset", "onnxruntime", "trainer.run"),
    "deploy/": ("trainer", "export", "torch", "webdataset", "onnxruntime", *TRAINING_DATA),
}
"""What the files of a folder, and of those in it, may not import."""
ALLOWED = {"trainer/networks/": "trainer.networks", "likeness/onnx_runtime.py": "onnxruntime"}
TORCH_IN_SHARDS = "shards/reading/stream.py"
MAY_NAME = {
    # The drill trains some method; this is the default of an option.
    "trainer/drill/outcome.py": {"style_consistent"},
    # What one paper published of itself and of others, and what it claims of them.
    "trainer/tables/published.py": {"style-consistent", "pix2pixHD", "MUNIT", "PairedMUNIT"},
    "trainer/tables/markdown.py": {"style-consistent", "pix2pixHD"},
    # Examples in a command's help.
    "trainer/study/__main__.py": {"pix2pixHD"},
    "export/__main__.py": {"MUNIT"},
    # Whose numbering two systems' files have.
    "trainer/convert/official_names.py": {"pix2pixHD"},
}
"""Files that name methods outside the methods themselves, and why."""
ONE_FILE = {"onnxruntime": "likeness/onnx_runtime.py", "webdataset": "shards/packing/write.py"}


@cache
def imports(source: str) -> frozenset[str]:
    """Every module, and every name taken from one, that a file imports; function bodies included."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are written in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def reaches(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


def violations(place: str, source: str) -> list[str]:
    """What a file at `place` imports against the rules of the rooms that it lies in."""
    forbidden = [module for room, modules in NEVER.items() if place.startswith(room) for module in modules]
    if place.startswith("shards/") and place != TORCH_IN_SHARDS:
        forbidden.append("torch")
    if place.startswith("trainer/methods/") and not place.endswith("__init__.py"):
        forbidden += [f"trainer.methods.{name}" for name in methods() if name != Path(place).stem]
    allowed = [module for room, module in ALLOWED.items() if place.startswith(room)]
    return [
        f"{place} imports {name}"
        for name in sorted(imports(source))
        if any(reaches(name, module) for module in forbidden) and not any(reaches(name, module) for module in allowed)
    ]


def methods() -> list[str]:
    """The published systems; files whose names begin with `_` are bases that they share."""
    return [path.stem for path in (ROOT / "trainer" / "methods").glob("*.py") if not path.stem.startswith("_")]


def files() -> list[str]:
    return [path.relative_to(ROOT).as_posix() for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def module_of(place: str) -> str:
    return place.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


@pytest.mark.parametrize("place", files())
def test_nothing_flows_back(place: str) -> None:
    assert violations(place, (ROOT / place).read_text()) == []


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("likeness/command.py", "from shards.records import Pair"),
        ("shards/packing/pairs.py", "import torch"),
        ("shards/packing/pairs.py", "from trainer.config import load"),
        ("trainer/loop.py", "def f():\n    from deploy import runtime"),
        ("trainer/doctor.py", "from trainer.run import main"),
        ("trainer/methods/pix2pixhd.py", "from trainer.methods.style_consistent import METHOD"),
        ("trainer/methods/pix2pixhd.py", "from trainer.training import Training"),
        ("trainer/networks/generator.py", "from trainer import losses"),
        ("trainer/networks/generator.py", "from likeness.command import BadInput"),
        ("trainer/players/engines.py", "from trainer import methods"),
        ("trainer/ranks/watchdog.py", "from trainer.methods.munit import METHOD"),
        ("deploy/batch/run.py", "import torch.nn"),
        ("deploy/batch/run.py", "from shards.reading import stream"),
        ("deploy/service/app.py", "from shards.judging.judge import serve"),
        ("deploy/video.py", "from shards.packing import write"),
        ("export/gates/checks.py", "import onnxruntime"),
    ],
)
def test_the_rule_can_be_broken(place: str, source: str) -> None:
    assert (ROOT / place).is_file()
    assert violations(place, source)


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("trainer/networks/enhancer.py", "from trainer.networks.generator import ResidualBlock"),
        ("trainer/methods/munit.py", "from trainer.methods._two_domains import TwoDomains"),
        ("deploy/batch/run.py", "from shards.reading.samples import decode"),
    ],
)
def test_the_rule_can_be_kept(place: str, source: str) -> None:
    assert not violations(place, source)


def arrows() -> dict[str, set[str]]:
    """Module to the modules of ours that it imports."""
    known = {module_of(place): place for place in files()}
    found: dict[str, set[str]] = {}
    for module, place in known.items():
        names = imports((ROOT / place).read_text())
        found[module] = {
            target
            for name in names
            for target in (name if name in known else name.rpartition(".")[0],)
            if target in known and target != module
        }
    return found


def circles(graph: dict[str, set[str]]) -> list[str]:
    """The modules from which a way leads back to themselves."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [*graph.get(start, ())]
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting += graph.get(module, ())
        return seen

    return [module for module in graph if module in reached(module)]


def test_no_files_import_each_other() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert circles(arrows()) == []


def test_libraries_with_one_door() -> None:
    users = defaultdict(set)
    for place in files():
        for name in imports((ROOT / place).read_text()):
            users[name.partition(".")[0]].add(place)
    for library, only in ONE_FILE.items():
        assert users[library] == {only}
    rooms = [place.partition("/")[0] for place in users["mlflow"]]
    assert len(rooms) == len(set(rooms)), "mlflow in one file per room"


def test_the_loop_names_no_method() -> None:
    assert len(methods()) >= 2
    for place in ("loop.py", "training.py", "run.py", "method.py", *("checkpoints/" + name for name in ("files.py",))):
        text = (ROOT / "trainer" / place).read_text()
        assert not [name for name in methods() if name in text]


def names_of(method: str) -> set[str]:
    """The name of a method's file, and what it is called in print."""
    text = (ROOT / "trainer" / "methods" / f"{method}.py").read_text()
    return {method, *re.findall(r'^    title = "(.+)"$', text, re.MULTILINE)}


def named(source: str) -> set[str]:
    """The methods that a file names in its strings or imports; docstrings may, as they cite."""
    tree = ast.parse(source)
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    strings = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings
    ]
    modules = imports(source)
    written = {name for each in methods() for name in names_of(each) if any(_word(name, text) for text in strings)}
    return written | {each for each in methods() if any(reaches(name, f"trainer.methods.{each}") for name in modules)}


def _word(name: str, text: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) is not None


def naming(place: str, source: str) -> set[str]:
    """The methods that a file names and may not."""
    if place.startswith("trainer/methods/"):
        return set()
    # A converter is of the method that its file is called by.
    converter = place.startswith("trainer/convert/systems/") and Path(place).stem in methods()
    own = names_of(Path(place).stem) if converter else set()
    return named(source) - MAY_NAME.get(place, set()) - own


def test_a_method_is_named_by_nobody_but_itself() -> None:
    assert names_of("style_consistent") == {"style_consistent", "style-consistent"}
    found = {place: names for place in files() if (names := naming(place, (ROOT / place).read_text()))}
    assert found == {}
    for place, names in MAY_NAME.items():
        assert named((ROOT / place).read_text()) == names, f"{place} needs no such exception"


@pytest.mark.parametrize(
    "source",
    [
        'def reach(metadata):\n    return 324 if metadata.method == "pix2pixhd" else None',
        "from trainer.methods.pix2pixhd import Pix2PixHD",
        "import trainer.methods.munit",
        'TITLES = {"paired_munit": "its reading"}',
        'raise ValueError(f"{file} is none of {kind}: train a pix2pixHD")',
    ],
)
def test_naming_a_method_is_seen(source: str) -> None:
    assert naming("deploy/manipulation/edit.py", source)
    assert not naming("trainer/methods/pix2pixhd.py", source)


def test_citing_a_method_is_not_naming_it() -> None:
    source = '"""The encoder of pix2pixHD."""\nSIZE = 3\n"""As munit has it."""\nwhere = "runs/munits"'
    assert naming("trainer/networks/generator.py", source) == set()
    assert naming("trainer/convert/systems/munit.py", 'Plan("munit")') == set()
    assert naming("trainer/convert/systems/munit.py", 'Plan("pix2pixhd")') == {"pix2pixhd"}


def test_rooms_are_small() -> None:
    sizes: dict[str, int] = defaultdict(int)
    for place in files():
        sizes[place.rpartition("/")[0]] += 1
    assert {room: size for room, size in sizes.items() if size > LARGEST} == {}


def test_the_page_shows_every_room() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    tree = page.split("```")[1].strip().splitlines()
    shown: list[str] = []
    for line in tree:
        name = line.split("/")[0]
        shown.append(
            name if not name.startswith(" ") else f"{next(r for r in reversed(shown) if '/' not in r)}/{name.strip()}"
        )
    deeper = ("trainer/convert/systems", "trainer/metrics/reader", "shards/worlds/")
    rooms = {place.rpartition("/")[0] for place in files()}
    assert {room for room in rooms if not room.startswith(deeper)} == {*shown}


def test_names_of_files() -> None:
    assert not [place for place in files() if Path(place).stem in ("utils", "helpers")]
    # Not sys.path: libraries that other tests import append folders of their own to it.
    outside = list({sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")})
    assert importlib.machinery.PathFinder.find_spec("torch", outside) is not None
    for path in (ROOT / "trainer").iterdir():
        # A folder without Python files is nothing that an import could prefer to an installed package.
        importable = path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))
        if path.stem == "__init__" or not importable:
            continue
        assert path.stem not in sys.stdlib_module_names
        assert importlib.machinery.PathFinder.find_spec(path.stem, outside) is None, path.stem


def test_training_does_not_see_its_own_folder_first() -> None:
    # A file trainer/metrics.py must never stand in for an installed package `metrics`.
    code = (
        "import runpy, sys\n"
        "sys.path[0] = sys.argv[1]\n"  # as `python trainer/run.py` does
        "sys.argv = ['trainer/run.py', '--help']\n"
        "try:\n    runpy.run_path('trainer/run.py', run_name='__main__')\n"
        "except SystemExit:\n    pass\n"
        "assert sys.argv and not [place for place in sys.path if place.endswith('/trainer')], sys.path\n"
    )
    command = [sys.executable, "-c", code, str(ROOT / "trainer")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


KIND_NAMES = frozenset(get_args(LabelKind))
PLAIN_WORDS = frozenset({"picture"})
"""Names of kinds that are words for other things, too: no comparison but one of something called a kind is meant."""


def kinds_by_name(place: str, source: str) -> list[str]:
    """Where a file compares the name of a kind of label maps, or looks something up by it, instead of asking the kind.

    `shards/labels/kinds.py` may; and the published systems, whose own options name kinds.
    """
    is_method = place.startswith("trainer/methods/") and not Path(place).stem.startswith("_")
    if place == "shards/labels/kinds.py" or is_method:
        return []

    def names(node: ast.AST) -> set[str]:
        """The names of kinds that an expression consists of, alone or as a collection."""
        parts = node.elts if isinstance(node, (ast.Tuple, ast.List, ast.Set)) else [node]
        values = {part.value for part in parts if isinstance(part, ast.Constant)}
        return {value for value in values if value in KIND_NAMES} if len(values) == len(parts) else set()

    def is_kind(node: ast.AST) -> bool:
        """Whether an expression is a schema's kind, `schema.kind`."""
        return isinstance(node, ast.Attribute) and node.attr == "kind" and ast.unparse(node.value).endswith("schema")

    def by_name(node: ast.AST) -> bool:
        match node:
            case ast.Compare(left=left, comparators=others):
                sides = [left, *others]
                named = set().union(*map(names, sides)) - PLAIN_WORDS
                called = any(names(side) for side in sides) and "kind" in ast.unparse(node).lower()
                return bool(named) or called or any(map(is_kind, sides))
            case ast.Dict(keys=keys):
                return any(names(key) - PLAIN_WORDS for key in keys if key is not None)
            case ast.Subscript(slice=key):
                return is_kind(key)
            case ast.MatchValue(value=value):
                return bool(names(value) - PLAIN_WORDS)
        return False

    return [f"{place}:{node.lineno} {ast.unparse(node)}" for node in ast.walk(ast.parse(source)) if by_name(node)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("place", files())
def test_kinds_of_label_maps_are_asked_not_compared(place: str) -> None:
    assert kinds_by_name(place, (ROOT / place).read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        'if schema.kind == "classes": pass',
        'if "sketch" != kind: pass',
        'if kind in ("sketch", "pose"): pass',
        'if kind == "picture": pass',
        "same = schema.kind == world.KIND.name",
        'file = {"sketch": "json", "other": "png"}[name]',
        "file = FILES[self.schema.kind]",
        'match kind:\n    case "edges":\n        pass',
    ],
)
def test_a_kind_can_be_compared(source: str) -> None:
    assert kinds_by_name("shards/records.py", source)
    assert not kinds_by_name("shards/labels/kinds.py", source)
    assert not kinds_by_name("trainer/methods/pix2pixhd.py", source)


@pytest.mark.parametrize(
    "source",
    [
        'if "picture" in line: pass',
        'row = {"picture": name, "target": target}',
        "if kind_of(schema).points is LANDMARKS: pass",
        "metrics = {SKETCH: landmark_metric, POSE: keypoint_metric}",
        'schema = LabelSchema("classes", 3, 32, 32, names, colours)',
    ],
)
def test_what_is_no_comparison_of_kinds(source: str) -> None:
    assert not kinds_by_name("shards/records.py", source)


MAY_COMPARE_INPUTS = {
    # Sides of a pair, which the photos' inputs are called after.
    "shards/judging/judge.py": {"exemplar"},
    "trainer/study/state.py": {"exemplar"},
    # How pairs are put together: by style.
    "shards/inspection/verify.py": {"style"},
    # Fields of descriptions, sidecars and tables beside pictures.
    "shards/operators/world_frames.py": {"instances"},
    "shards/packing/plan.py": {"instances"},
    "shards/worlds/sidecar.py": {"instances"},
    "trainer/evaluate/judged_pairs.py": {"label"},
    "trainer/tables/markdown.py": {"exemplar"},
    # What a method's features are means over.
    "trainer/feature_centres.py": {"instances"},
}
"""Files that compare a word which is an input's name, too, but means something else there, and what."""


def inputs_by_name(place: str, source: str) -> dict[str, set[str]]:
    """The names of inputs that a file compares, each with where, instead of asking the objects of `shards/inputs.py`.

    That file may; and the published systems, whose networks have an input each.
    """
    if place == "shards/inputs.py" or place.startswith("trainer/methods/"):
        return {}

    def names(node: ast.AST) -> set[str]:
        parts = node.elts if isinstance(node, (ast.Tuple, ast.List, ast.Set)) else [node]
        return {part.value for part in parts if isinstance(part, ast.Constant) and part.value in INPUTS}  # type: ignore[misc]

    found: dict[str, set[str]] = defaultdict(set)
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare(left=left, comparators=others):
                compared = set().union(*map(names, [left, *others]))
            case ast.MatchValue(value=value):
                compared = names(value)
            case _:
                continue
        for name in compared - MAY_COMPARE_INPUTS.get(place, set()):
            found[name].add(f"{place}:{node.lineno} {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("place", files())
def test_inputs_are_asked_not_compared(place: str) -> None:
    assert inputs_by_name(place, (ROOT / place).read_text()) == {}


def test_every_exception_for_inputs_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    exceptions = {**MAY_COMPARE_INPUTS}
    monkeypatch.setattr("tests.test_house.MAY_COMPARE_INPUTS", {})
    assert {place: {*inputs_by_name(place, (ROOT / place).read_text())} for place in exceptions} == exceptions


@pytest.mark.parametrize(
    "source",
    [
        'if "exemplar" in inputs: pass',
        'if "label" not in session.inputs: pass',
        'if name == "style": pass',
        'if "features" != each.name: pass',
        'if name in ("instances", "other"): pass',
        'if name not in {"exemplar_label"}: pass',
        'match name:\n    case "exemplar":\n        pass',
    ],
)
def test_an_input_can_be_compared(source: str) -> None:
    assert inputs_by_name("deploy/demo/inputs.py", source)
    assert not inputs_by_name("shards/inputs.py", source)
    assert not inputs_by_name("trainer/methods/pix2pixhd.py", source)


@pytest.mark.parametrize(
    "source",
    [
        "if EXEMPLAR in inputs_of(names): pass",
        "loaded = {LABEL.name: ids}",
        'photo = photos["exemplar"]',
        'if side == "target": pass',
    ],
)
def test_what_is_no_comparison_of_inputs(source: str) -> None:
    assert not inputs_by_name("deploy/demo/inputs.py", source)


def without_encoding(place: str, source: str) -> list[str]:
    """Where a file opens text, or reads the text of a process, in whatever encoding the locale has."""

    def binary(call: ast.Call) -> bool:
        """Whether a call of `open` is no opening of text: it has a mode for bytes, or is another library's."""
        modes = [each for each in (*call.args[:2], *(word.value for word in call.keywords)) if _is_mode(each)]
        return any("b" in ast.literal_eval(mode) for mode in modes)

    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or "encoding" in {word.arg for word in node.keywords}:
            continue
        called = ast.unparse(node.func)
        name = called.rpartition(".")[2]
        texts = name in ("read_text", "write_text") and called != "atomic.write_text" and called != "write_text"
        process = any(word.arg in ("text", "universal_newlines") for word in node.keywords) and name in PROCESSES
        opened = name in ("open", "fdopen", "NamedTemporaryFile", "TextIOWrapper") and not binary(node)
        if texts or process or (opened and not called.startswith(OTHER_OPENERS)):
            found.append(f"{place}:{node.lineno} {ast.unparse(node)}")
    return found


def _is_mode(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(re.fullmatch(r"[rwaxbt+]+", node.value))
    )


PROCESSES = ("run", "Popen", "check_output", "call", "check_call")
OTHER_OPENERS = ("os.open", "tarfile.open", "Image.open", "store.open", "self.store.open", "reachable.open")
"""Openers of what is no text."""


@pytest.mark.parametrize("place", files())
def test_text_is_read_and_written_as_utf_8(place: str) -> None:
    assert without_encoding(place, (ROOT / place).read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "json.loads(path.read_text())",
        "(out / name).write_text(page)",
        "with path.open() as file: pass",
        'with open(path, "w", newline="") as file: pass',
        "subprocess.run(command, text=True)",
        "os.fdopen(reader)",
    ],
)
def test_the_locale_can_be_asked(source: str) -> None:
    assert without_encoding("shards/records.py", source)


@pytest.mark.parametrize(
    "source",
    [
        'path.read_text(encoding="utf-8")',
        "atomic.write_text(path, page)",
        'with path.open("rb") as file: pass',
        "os.open(path, os.O_RDONLY)",
        "subprocess.run(command, capture_output=True)",
    ],
)
def test_what_does_not_ask_the_locale(source: str) -> None:
    assert not without_encoding("shards/records.py", source)
