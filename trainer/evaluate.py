"""Where the command was until it became a folder. Only `accelerate launch trainer/evaluate.py` still comes here."""

import sys

if __name__ == "__main__":
    print(
        "error: trainer/evaluate.py is a folder now; launch it as a module: "
        "accelerate launch -m trainer.evaluate …, or python -m trainer.evaluate …",
        file=sys.stderr,
    )
    sys.exit(2)
