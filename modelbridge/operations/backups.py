"""Backups on a schedule: one every so many hours into a folder, of which the newest are kept."""

import logging
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from modelbridge import clock
from modelbridge.config import Settings
from modelbridge.store.backup import BackupError, backup, clear_drafts

LOOK_SECONDS = 60.0
_PREFIX, _STAMP = "modelbridge-", "%Y%m%dT%H%M%SZ"
_log = logging.getLogger("modelbridge.backup")


class BackupClock:
    """A thread that backs up when the newest copy is old enough. Without a folder it does nothing.

    `trouble` says why the last one failed; None: it did not.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="backups", daemon=True)
        self.trouble: str | None = None

    def start(self) -> None:
        """Begin."""
        if self._settings.backup_dir is not None and self._settings.backup_hours:
            self._thread.start()

    def stop(self) -> None:
        """End; a backup that is under way is finished first."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> Path | None:
        """Back up if it is time; returns the new copy."""
        folder = self._settings.backup_dir
        if folder is None:
            return None
        newest = max((made_at(path) for path in copies(folder)), default=None)
        due = timedelta(hours=self._settings.backup_hours)
        if newest is not None and newest <= clock.now() < newest + due:
            return None
        return back_up(self._settings.database_path, folder, self._settings.backup_keep)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if made := self.look():
                    _log.info("backed up to %s", made)
                self.trouble = None
            except (BackupError, OSError) as error:
                self.trouble = str(error)
                _log.error("the backup failed, it is tried again: %s", error)
            self._stop.wait(LOOK_SECONDS)


def back_up(database_path: Path, folder: Path, keep: int) -> Path:
    """A verified copy named after this moment is in `folder`, and only the newest `keep` are.

    Raises BackupError and OSError; then nothing was removed.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    clear_drafts(folder, _PREFIX)
    made = folder / f"{_PREFIX}{clock.now().strftime(_STAMP)}.db"
    backup(database_path, made)
    for old in copies(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return made


def copies(folder: Path) -> list[Path]:
    """The copies that the schedule made, oldest first; other files are left alone."""
    return sorted(path for path in folder.glob(f"{_PREFIX}*Z.db") if _is_ours(path))


def made_at(path: Path) -> datetime:
    """When a copy was made, by its name. Raises ValueError for another file."""
    text = path.stem.removeprefix(_PREFIX)
    return datetime.strptime(text, _STAMP).replace(tzinfo=UTC)


def _is_ours(path: Path) -> bool:
    try:
        made_at(path)
    except ValueError:
        return False
    return True
