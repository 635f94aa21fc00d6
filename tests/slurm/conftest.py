"""One Slurm cluster for all tests of this room, on machines that can have one."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def _cluster_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("slurm_cluster", Path(__file__).with_name("cluster.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A running cluster of two nodes; the tests are skipped where there cannot be one."""
    module = _cluster_module()
    if reason := module.missing():
        pytest.skip(f"NOT TESTED, the batch jobs need a real Slurm: {reason}")
    with module.started(tmp_path_factory.mktemp("slurm")) as running:
        yield running
