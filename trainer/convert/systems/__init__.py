"""Systems whose authors' files can be converted, one file each: a file here is known to the command."""

import importlib
import pkgutil

from trainer.convert.plan import System


def available() -> list[str]:
    """The names of all systems, as the command takes them: their files', with `-` for `_`."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def find(name: str) -> System:
    """The system of a name that `available` gives."""
    system: System = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").SYSTEM
    return system
