"""A folder of videos: every video file under it, at any depth; each is a style of its own."""

from collections.abc import Mapping
from pathlib import Path

from likeness.command import BadInput
from likeness.folders import Unused, once_each, visible_files
from likeness.names import name_of
from shards.sources.dataset import Dataset, Item
from shards.worlds.sidecar import sidecar_of, sidecar_path

EXTENSIONS = frozenset((
    ".264", ".265", ".266", ".3g2", ".3gp", ".amv", ".apng", ".asf", ".av1", ".avc", ".avi", ".avs2", ".avs3", ".bik",
    ".dav", ".dif", ".divx", ".dv", ".evc", ".f4v", ".flc", ".fli", ".flv", ".gif", ".gxf", ".h261", ".h263", ".h264",
    ".h265", ".h266", ".h26l", ".hevc", ".ismv", ".ivf", ".ivr", ".kux", ".m1v", ".m2t", ".m2ts", ".m2v",
    ".m4v", ".mj2", ".mjpeg", ".mjpg", ".mk3d", ".mkv", ".mov", ".movie", ".mp4", ".mpe", ".mpeg", ".mpg", ".mpv",
    ".mts", ".mxf", ".mxg", ".nsv", ".nut", ".obu", ".ogg", ".ogm", ".ogv", ".ogx", ".psp", ".qt", ".rm", ".rmvb",
    ".roq", ".smk", ".tod", ".trp", ".ts", ".ty", ".vc1", ".viv", ".vob", ".vvc", ".webm", ".wmv", ".wtv",
    ".xmv", ".y4m",
))  # fmt: skip
"""Of files that may hold moving pictures, as ffmpeg's formats name them, and cameras, discs and recorders."""


def find_videos(root: Path, unused: Unused | None = None) -> list[Path]:
    """The video files under a folder, at any depth, sorted by name (see `likeness.folders.visible_files`).

    unused: counts what lies there besides; a world's sidecars and label pictures count as used.
    Raises BadInput when there is no such folder, or no video in it.
    """
    root = Path(root)
    unused = Unused() if unused is None else unused
    if not root.is_dir():
        raise BadInput(f"{root}: there is no such folder; give a folder of videos")
    files = visible_files(root, unused)
    videos = {name: path for name, path in files.items() if path.suffix.lower() in EXTENSIONS}
    _count_others(files, videos, unused)
    if not videos:
        said = "".join(f" ({note})" for note in unused.notes())
        raise BadInput(f"{root} holds no videos{said}; looked for files that end in {', '.join(sorted(EXTENSIONS))}")
    return list(once_each(videos, unused).values())


def find(root: Path) -> Dataset:
    """The videos under a folder; a video's style key is its name, or what a world's sidecar says (streets).

    Raises BadInput when there is no such folder, or no video in it.
    """
    root, unused = Path(root), Unused()
    videos = find_videos(root, unused)
    items = tuple(Item(name_of(video, root), video, _style(video, root, unused)) for video in videos)
    return Dataset(items, notes=unused.notes())


def _count_others(files: Mapping[str, Path], videos: Mapping[str, Path], unused: Unused) -> None:
    beside = {sidecar_path(path) for path in videos.values()}
    # Folders of what a world draws for each frame are called after the video.
    drawn = {path.with_suffix(f".{what}") for path in videos.values() for what in ("labels", "instances")}
    for name, path in files.items():
        if name not in videos and path not in beside and path.parent not in drawn:
            unused.add("that are no videos", name)


def _style(video: Path, root: Path, unused: Unused) -> str:
    name = name_of(video, root)
    sidecar = sidecar_of(video)
    if sidecar is None:
        if (other := sidecar_path(video)).is_file():
            unused.add("beside videos, but no sidecars of a world", name_of(other, root))
        return name
    style = str(sidecar["style_key"])
    # Videos of equal names in several folders have styles of their own.
    return name.removesuffix(video.suffix) if style == video.stem else style
