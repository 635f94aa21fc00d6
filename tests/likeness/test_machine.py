"""What a process may use of its machine."""

import os
from pathlib import Path

import pytest

from likeness import machine

GIB = 1 << 30


def group(folder: Path, **files: str) -> None:
    """One control group's files; `_` stands for the dot in their names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".", 1)).write_text(content + "\n")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "_CONTROL_GROUPS", tmp_path / "tree")
    monkeypatch.setattr(machine, "_MEMBERSHIP", tmp_path / "cgroup")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {*range(64)})
    return tmp_path


def test_the_share_of_a_container(tree: Path) -> None:
    (tree / "cgroup").write_text("0::/pod/container\n")
    group(tree / "tree" / "pod" / "container", cpu_max="max 100000", memory_max="max")
    assert (machine.cores(), machine.memory()) == (64, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    # A limit of the group above holds for all within it.
    group(tree / "tree" / "pod", cpu_max="250000 100000", memory_max=str(GIB))
    assert (machine.cores(), machine.memory()) == (3, GIB)
    group(tree / "tree" / "pod" / "container", cpu_max="50000 100000", memory_max=str(GIB // 2))
    assert (machine.cores(), machine.memory()) == (1, GIB // 2)


def test_the_share_of_a_container_with_control_groups_of_version_1(tree: Path) -> None:
    (tree / "cgroup").write_text("5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n3:cpuset:/\n0::/\n")
    # Docker shows a container its own group as the root of the tree.
    group(tree / "tree" / "cpu", cpu_cfs_quota_us="200000", cpu_cfs_period_us="100000")
    group(tree / "tree" / "memory", memory_limit_in_bytes=str(GIB))
    assert (machine.cores(), machine.memory()) == (2, GIB)
    group(tree / "tree" / "cpu", cpu_cfs_quota_us="-1")
    assert machine.cores() == 64


def test_affinity_counts(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    assert machine.cores() == 1
