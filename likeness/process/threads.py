"""How this process shares the cores with others, its own loader workers among them."""

import os

QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "OPENCV_FOR_THREADS_NUM": "1"}
"""Variables of libgomp and OpenCV, which read them once, when they are loaded."""


def share_cores() -> None:
    """Threads of OpenMP sleep where they wait for each other, and OpenCV has none; unless the environment decides.

    Beside other work, threads that spin at a barrier spend the time that the one they wait for would need, and training
    becomes slower than its share of the cores by a factor of ten. Pictures are read by one process for each core
    already. To be called before torch and OpenCV are imported.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
