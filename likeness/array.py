"""The one name for NumPy arrays in types; shapes, types and ranges of values stand in docstrings."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
