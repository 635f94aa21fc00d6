"""What the operating system refuses: which file, what it says, and what a person can do about it."""

import errno
import os
import sys
from collections.abc import Mapping

_ELSEWHERE = "name another place"
_RIGHTS = f"this user lacks the right to it: change its owner or permissions (chown, chmod), or {_ELSEWHERE}"
_NO_ROOM = "nothing half-written was kept; free some space or choose another --out, then run the same command again"
_LACKS = f"that file system lacks what is needed here; {_ELSEWHERE}, on a disk of this machine"
_NETWORK = "see whether the other side runs, its address is right, and a firewall or proxy lets you through"

REMEDIES: Mapping[int, str] = {
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: f"{_ELSEWHERE}, or mount that file system so that it can be written (docker run -v or --tmpfs)",
    errno.ENOENT: "see whether the path is written right, and still there",
    errno.ENOTDIR: f"a part of that path is a file and no folder; {_ELSEWHERE}",
    errno.EISDIR: "it is a folder where a file belongs; name a file",
    errno.EEXIST: f"remove it or {_ELSEWHERE}",
    errno.ENOTEMPTY: f"remove what is in it or {_ELSEWHERE}",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "symbolic links there lead in a circle; remove one",
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EFBIG: f"raise the limit on a file's size (ulimit -f), or {_ELSEWHERE}",
    errno.EXDEV: f"the two lie on different file systems; {_ELSEWHERE}",
    errno.EBUSY: "another program uses it; end that one first",
    errno.ETXTBSY: "another program uses it; end that one first",
    errno.EIO: "the disk or the network to it fails; see the system's log (dmesg)",
    errno.ESTALE: "the network file system has lost it; mount it anew",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "this machine has too many files open; end other programs or raise fs.file-max",
    errno.EAGAIN: "raise the limit on processes and threads (ulimit -u, or the container's pids limit)",
    errno.ENOMEM: "there is not enough memory; end other programs or raise the container's limit",
    errno.ENOEXEC: "it is no program for this machine; install another one",
    errno.ENOLCK: _LACKS,
    errno.ENOSYS: _LACKS,
    errno.EOPNOTSUPP: _LACKS,
    errno.EADDRINUSE: "another program listens there; choose another port",
    errno.EADDRNOTAVAIL: "that address is not this machine's; choose another one",
    errno.ECONNREFUSED: _NETWORK,
    errno.ECONNRESET: _NETWORK,
    errno.ECONNABORTED: _NETWORK,
    errno.EHOSTUNREACH: _NETWORK,
    errno.ENETUNREACH: _NETWORK,
    errno.ETIMEDOUT: _NETWORK,
}
"""What a person can do, by errno. What is not here is a defect of ours, such as a descriptor that is closed already."""


def in_words(error: OSError) -> str | None:
    """One line that names the file, what the system says, and the remedy; None for what no person can mend."""
    remedy = REMEDIES.get(error.errno or 0)
    if remedy is None:
        return None
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    where = f"{' to '.join(names)}: " if names else ""
    return f"{where}{error.strerror or os.strerror(error.errno or 0)}; {remedy}"


_said: set[tuple[str, int]] = set()


def warn_of_lack(place: os.PathLike[str] | str, lacking: str, error: OSError, consequence: str) -> None:
    """Says on stderr what the file system of `place`, which exists, cannot do, and what follows: once for each."""
    key = (lacking, os.stat(place).st_dev)
    if key not in _said:
        _said.add(key)
        print(
            f"warning: the file system of {os.fspath(place)} {lacking} ({error.strerror}): {consequence}",
            file=sys.stderr,
        )
