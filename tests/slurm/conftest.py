"""One Slurm cluster for all tests of this room, on machines that can have one."""

from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, missing, started


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running cluster of two nodes; the tests are skipped where there cannot be one."""
    if reason := missing():
        pytest.skip(f"NOT TESTED: the batch jobs need a real Slurm. {reason}")
    with started(tmp_path_factory.mktemp("slurm")) as running:
        yield running
