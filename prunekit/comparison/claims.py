"""Which of several processes trains what, said by locks that the system drops when a process ends."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from ..files import locked


class Claims:
    """The runs of a comparison that are being trained now, by this process or another.

    Args:
        folder: one for the comparison, made when the first lock is; ``None`` where this process is the only
            one, which has all it asks for.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    @classmethod
    def of(cls, home: Path) -> Claims:
        """Those of the comparison that a run in this folder asks for."""
        return cls(home / "compare" / ".claims")

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.folder is None

    def choosing(self) -> AbstractContextManager[bool]:
        """Only one process at a time looks for its next run, and takes it."""
        return nullcontext(True) if self.folder is None else locked(self.folder / "choosing.lock")

    def hold(self, run: Path) -> AbstractContextManager[bool]:
        """Claim a run, by its folder; gives whether no other process had it."""
        return nullcontext(True) if self.folder is None else locked(self._file(self.folder, run), wait=False)

    def taken(self, run: Path) -> bool:
        """Whether a run is claimed."""
        if self.folder is None or not self._file(self.folder, run).exists():
            return False
        with self.hold(run) as free:
            return not free

    def remove(self) -> None:
        """Remove the locks, which nobody holds any more."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            with suppress(OSError):  # not there, or not empty
                self.folder.parent.rmdir()

    @staticmethod
    def _file(folder: Path, run: Path) -> Path:
        return folder / (hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:16] + ".lock")
