"""Help comes at once: commands import what is slow to import only when they run."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SLOW = {
    "deploy": ("numpy", "cv2", "onnxruntime", "torch", "fastapi", "gradio"),
    "shards": ("torch", "onnxruntime", "mediapipe", "webdataset", "fastapi"),
    "export": ("torch", "onnx", "onnxruntime"),
}


@pytest.mark.parametrize("command", SLOW)
def test_help_imports_nothing_slow(command: str) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['{command}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('{command}', run_name='__main__')\n"
        "except SystemExit:\n"
        "    pass\n"
        f"print([name for name in {SLOW[command]!r} if name in sys.modules], file=sys.stderr)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "usage: python -m" in result.stdout
    assert result.stderr.strip() == "[]"
