"""A small disk that can really be filled, to the last byte: a mount of its own."""

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 2**20
SIZE = "64M"  # the log of writes grows to some 10 MiB under load before it is moved


class CannotMountError(Exception):
    """This user or this machine may not mount anything."""


class SmallDisk:
    """A mounted file system at `path`, and a file on it that takes whatever is free."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Not a byte is free."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (64 * 1024, 1024, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        """There is room again."""
        self._ballast.unlink()


@contextmanager
def small_disk(directory: Path, kind: str) -> Iterator[SmallDisk]:
    """Such a disk below that directory: `tmpfs` in memory, or `ext4` in a file.

    Raises CannotMountError: to mount takes root, and a container may forbid even that.
    """
    place = directory / "disk"
    place.mkdir()
    if kind == "tmpfs":
        _run("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(place))
    else:
        image = str(directory / "image")
        _run("truncate", "--size", SIZE, image)
        _run("mkfs.ext4", "-q", "-m", "0", image)
        _run("mount", "-o", "loop", image, str(place))
    try:
        yield SmallDisk(place)
    finally:
        _run("umount", str(place))


def _run(*words: str) -> None:
    try:
        subprocess.run(words, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise CannotMountError(f"{words[0]} is not installed here") from error
    except subprocess.CalledProcessError as error:
        raise CannotMountError(f"{' '.join(words)}: {error.stderr.strip()}") from error
