"""Weights that others publish: a figure bears its known name only when it was made with them."""

from pathlib import Path

import torch

from likeness.checksums import sha256_of
from likeness.command import BadInput


def published_file(weights: str, url: str) -> Path:
    """The file that `url` publishes. Its name ends with the first digits of its SHA-256, as torch.hub's do.

    weights: the path of the file, or `download`, which fetches it once into torch.hub's folder.

    Raises BadInput when the file is missing, cannot be fetched, or is another one.
    """
    name = url.rpartition("/")[2]
    digits = name.removesuffix(".pth").rpartition("-")[2]
    path = cached_file(url) if weights == "download" else Path(weights)
    if weights == "download" and not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), digits, progress=False)
        except (OSError, RuntimeError) as error:
            raise BadInput(f"cannot fetch {url} ({error}); fetch it elsewhere and give its path") from error
    if not path.is_file():
        raise BadInput(f"no weights at {path}; fetch {url} and give its path, or say `download`")
    if not (actual := sha256_of(path)).startswith(digits):
        raise BadInput(
            f"{path} is not the published file {name}: its SHA-256 begins with {actual[: len(digits)]}, not with "
            f"{digits}; fetch {url}"
        )
    return path


def cached_file(url: str) -> Path:
    """Where `download` puts a file and looks for it: torch.hub's folder."""
    return Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
