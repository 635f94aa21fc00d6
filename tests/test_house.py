"""One direction: the imports of every file, held against the rooms' rules."""

import ast
import importlib.machinery
import sys
import sysconfig
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("shards", "trainer", "export", "deploy")
FORBIDDEN = {
    "shards": ("trainer", "export", "deploy", "mlflow"),
    "trainer": ("export", "deploy", "webdataset", "onnxruntime", "trainer.run"),
    "export": ("webdataset", "onnxruntime", "trainer.run"),
    "deploy": ("trainer", "export", "torch", "webdataset", "onnxruntime", "shards.read", "shards.write"),
}
NETWORKS = (
    "enhancer.py",
    "feature_encoder.py",
    "generator.py",
    "image_pool.py",
    "instances.py",
    "munit_networks.py",
    "norms.py",
    "patchgan.py",
    "vgg.py",
)
ONE_FILE = {"onnxruntime": "shards/onnx_runtime.py", "webdataset": "shards/write.py"}


def imports(source: str) -> set[str]:
    """Every module, and every name taken from one, that a file imports; function bodies included."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are written in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def reaches(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


def violations(place: str, source: str) -> list[str]:
    """What a file at `place` imports against the rules of its room."""
    room, _, inside = place.partition("/")
    forbidden = [*FORBIDDEN[room]]
    if room == "shards" and inside != "read.py":
        forbidden.append("torch")
    if place.startswith("trainer/methods/") and not place.endswith("__init__.py"):
        others = [path.stem for path in (ROOT / "trainer" / "methods").glob("*.py") if path.name != Path(place).name]
        forbidden += [f"trainer.methods.{name}" for name in others]
    if inside in NETWORKS:
        forbidden += ["trainer.config", "trainer.losses", "trainer.options"]
    forbidden += [module for module, only in ONE_FILE.items() if place == only and module in forbidden]
    allowed = [module for module, only in ONE_FILE.items() if place == only]
    return [
        f"{place} imports {name}"
        for name in sorted(imports(source))
        for module in forbidden
        if reaches(name, module) and module not in allowed
    ]


def files() -> list[str]:
    return [path.relative_to(ROOT).as_posix() for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("place", files())
def test_nothing_flows_back(place: str) -> None:
    assert violations(place, (ROOT / place).read_text()) == []


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("shards/pairs.py", "import torch"),
        ("shards/pairs.py", "from trainer.config import load"),
        ("trainer/loop.py", "def f():\n    from deploy import runtime"),
        ("trainer/generator.py", "from trainer import losses"),
        ("trainer/methods/pix2pixhd.py", "from trainer.methods.style_consistent import METHOD"),
        ("deploy/batch.py", "import torch.nn"),
        ("deploy/batch.py", "from shards import read"),
        ("export/gates.py", "import onnxruntime"),
    ],
)
def test_the_rule_can_be_broken(place: str, source: str) -> None:
    assert violations(place, source)


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
    names = [path.stem for path in (ROOT / "trainer" / "methods").glob("*.py") if path.stem != "__init__"]
    assert len(names) >= 2
    for file in ("loop.py", "training.py", "run.py", "method.py", "checkpoint.py"):
        text = (ROOT / "trainer" / file).read_text()
        assert not [name for name in names if name in text]


def test_names_of_files() -> None:
    assert not [place for place in files() if Path(place).stem in ("utils", "helpers")]
    # trainer/run.py runs with its own folder first on the path: a namesake would replace the real module.
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
