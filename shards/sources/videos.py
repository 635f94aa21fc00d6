"""A folder of videos: every video file under it, at any depth; each is a style of its own."""

from pathlib import Path

from likeness.command import BadInput
from shards.sources.dataset import Dataset, Item
from shards.worlds.sidecar import sidecar_of

EXTENSIONS = frozenset((
    ".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
    ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv",
))  # fmt: skip


def find_videos(root: Path) -> list[Path]:
    """The video files under a folder, at any depth, sorted by path; hidden files and folders are left out.

    Raises BadInput when there is no such folder, or no video in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise BadInput(f"{root}: there is no such folder; give a folder of videos")
    videos = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in EXTENSIONS
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and path.is_file()
    )
    if not videos:
        raise BadInput(f"{root} holds no videos; looked for files that end in {', '.join(sorted(EXTENSIONS))}")
    return videos


def find(root: Path) -> Dataset:
    """The videos under a folder; a video's style key is its name, or what a world's sidecar says (streets).

    Raises BadInput when there is no such folder, or no video in it.
    """
    root = Path(root)
    return Dataset(
        tuple(Item(video.relative_to(root).as_posix(), video, _style(video, root)) for video in find_videos(root))
    )


def _style(video: Path, root: Path) -> str:
    name = video.relative_to(root).as_posix()
    sidecar = sidecar_of(video)
    if sidecar is None:
        return name
    style = str(sidecar["style_key"])
    # Videos of equal names in several folders have styles of their own.
    return video.relative_to(root).with_suffix("").as_posix() if style == video.stem else style
