"""Settings for the whole suite."""

import os

from hypothesis import settings

# Shared machines stall at random; a slow example is no defect.
settings.register_profile("suite", deadline=None, max_examples=50)
settings.load_profile("suite")

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
