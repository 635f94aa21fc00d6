"""Published systems, one file each. The module path is the registry: a file here is a method.

Files whose names begin with `_` are none: they hold what methods share.
"""

import importlib
import pkgutil

from likeness.command import BadInput
from trainer.method import Method


def available() -> list[str]:
    """The names of all methods, as `method:` in a config takes them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def find(name: str) -> type[Method]:
    """The method of that name. Raises BadInput with the known names when there is no such file."""
    if name not in available():
        raise BadInput(f"method {name!r} is unknown; known methods: {', '.join(available())}")
    module = importlib.import_module(f"{__name__}.{name}")
    method: type[Method] = module.METHOD
    return method


def title(name: str) -> str:
    """What tables and counts call the method of that name. Raises BadInput as `find` does."""
    return find(name).title or name
