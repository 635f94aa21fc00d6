"""Training sets how its threads wait before anything loads the libraries that read it, and leaves a person's choice."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from likeness.process.threads import QUIET, share_cores

ROOT = Path(__file__).parents[3]
WATCH = """
import os, runpy, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "cv2"):
            print(name, os.environ.get("OMP_WAIT_POLICY"), os.environ.get("OPENCV_FOR_THREADS_NUM"))

sys.meta_path.insert(0, Watch())
runpy.run_path("trainer/run.py", run_name="not main")
import torch, cv2
print("threads of OpenCV:", cv2.getNumThreads())
"""


def test_training_is_set_up_before_torch_and_opencv_are_loaded() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in QUIET} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WATCH]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert sorted(set(said)) == ["cv2 PASSIVE 1", "threads of OpenCV: 1", "torch PASSIVE 1"]


def test_what_the_environment_says_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"OMP_WAIT_POLICY": "ACTIVE"}
    monkeypatch.setattr(os, "environ", environment)
    share_cores()
    assert environment == {"OMP_WAIT_POLICY": "ACTIVE", "OPENCV_FOR_THREADS_NUM": "1"}
