"""`python with_example.py MODULE [ARGUMENT …]`: runs a command of ours where the example is among the methods.

All that is added to the project is the example's folder, as if its file lay in `trainer/methods/`.
"""

import runpy
import sys
from pathlib import Path

from trainer import methods

EXAMPLE = Path(__file__).with_name("example")
WITH_EXAMPLE = Path(__file__)
"""This script."""

if __name__ == "__main__":
    methods.__path__.append(str(EXAMPLE))
    module = sys.argv[1]
    del sys.argv[1]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
