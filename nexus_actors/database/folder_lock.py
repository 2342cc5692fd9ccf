"""One node a data folder: a lock that the operating system gives back however its holder ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from nexus_actors.errors import NexusError

__all__ = ["DataFolderInUse", "FolderLock"]


class DataFolderInUse(NexusError):
    """Another node runs on the same data folder."""

    def __init__(self, folder: Path, pid: int | None) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(
            f"the data folder {folder} is in use by {who}: stop that node, or give this one "
            "a folder of its own (--data)"
        )
        self.folder = folder
        self.pid = pid


class FolderLock:
    """The lock of one data folder, in its file ``postgres.lock``, which names the holder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Make the folder where it is not there, and take the lock. Idempotent.

        Raises:
            DataFolderInUse: another process has it, or another lock of this one.
            OSError: the folder cannot be made or written to.
        """
        if self._file is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        file = open(self.folder / "postgres.lock", "a+", encoding="ascii")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip()
            file.close()
            raise DataFolderInUse(self.folder, int(holder) if holder.isdigit() else None) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def give_back(self) -> None:
        """Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None
