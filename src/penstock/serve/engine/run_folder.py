"""The folder of one run: sockets, specs and sub-models, for this user only.

Its owner, the process that made it, holds a lock on a file in it, which the system lets go when the process ends in
whatever way. So a folder that was left behind, because every process of a server was killed at once, can be told from
one that is in use. Memory for tensors has no name and needs no such care
(:mod:`penstock.serve.transport.shared.memory_file`).
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from pathlib import Path

from penstock.errors import BadInputError

MOST_LETTERS = 60
"""The longest parent of a run folder. The path of a socket has at most 107 bytes, and ours add up to 45."""
OWNER = "owner"
"""The file in a run folder that its owner has locked."""
_PREFIX = "penstock-"

_locks: list[int] = []
"""Of this process's own folders; open until it ends."""
_log = logging.getLogger("penstock.serve")


def run_folder() -> Path:
    """A new folder that only this user may enter, for sockets and sub-models of one run of this process.

    It is in the temporary folder, or in ``/tmp`` if paths of sockets there would be too long for the system. Folders
    of servers that were killed are removed first. Raises :class:`BadInputError` if the paths are too long in both, or
    neither can be written.
    """
    for left in remove_left_behind():
        _log.info("removed %s, which a server that was killed had left behind", left)
    tried = []
    for parent in run_parents():
        if len(str(parent)) > MOST_LETTERS:
            tried.append(f"{parent} (longer than {MOST_LETTERS} letters)")
            continue
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            _own(folder)
        except OSError as error:
            tried.append(f"{parent} ({error.strerror})")
        else:
            return folder
    raise BadInputError(
        f"no place for the sockets of the run: {', '.join(tried)}. Set TMPDIR to a short path."
    )


def run_parents() -> list[Path]:
    """Where run folders are."""
    return list(dict.fromkeys((Path(tempfile.gettempdir()), Path("/tmp"))))


def run_folders() -> list[Path]:
    """The run folders of this user, of dead servers too."""
    found = []
    for path in sorted(path for parent in run_parents() for path in parent.glob(f"{_PREFIX}*")):
        try:
            is_own = path.lstat().st_uid == os.geteuid()
        except OSError:
            continue  # just being removed
        if is_own and path.is_dir() and not path.is_symlink():
            found.append(path)
    return found


def remove_left_behind() -> list[Path]:
    """Remove this user's run folders whose owner is dead; returns them."""
    removed = []
    for folder in run_folders():
        lock = _lock_of_the_dead(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
            removed.append(folder)
    return removed


def is_left_behind(folder: Path) -> bool:
    """Whether the owner of the run folder ``folder`` is dead."""
    lock = _lock_of_the_dead(folder)
    if lock is not None:
        os.close(lock)
    return lock is not None


def _own(folder: Path) -> None:
    """Lock the folder before anybody can see that it has an owner: else it would look as if that were dead."""
    unseen = folder / f"{OWNER}.part"
    lock = os.open(unseen, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    unseen.rename(folder / OWNER)
    _locks.append(lock)


def _lock_of_the_dead(folder: Path) -> int | None:
    """The lock of ``folder``, now held by this process; None if its owner lives or is not known."""
    try:
        lock = os.open(folder / OWNER, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock
