"""Files of the root side: opened component by component, never through a symbolic link, written durably.

A Folder is a folder held open. Every component on the way to it belongs to root (or to whoever runs the helper, in
tests) and nobody else may write it, so what was checked cannot be exchanged afterwards, and a path that was walked
once may be handed to a tool. Nothing here follows a link or opens a device, a pipe or a socket.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from .vocabulary.fields import Rejected

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_DEEPEST = 64


def _component(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise Rejected(f"{name!r:.80} is not the name of a file in a folder")
    return name


def _open(name: str, flags: int, parent: int | None, shown: str, mode: int = 0o600) -> int:
    try:
        return os.open(name, flags, mode, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENOTDIR):
            raise Rejected(f"{shown} is a symbolic link or not what it should be; nothing was done") from None
        raise OSError(error.errno, error.strerror, shown) from None


def _check_folder(descriptor: int, shown: str) -> None:
    """Only root writes here; a sticky folder such as /tmp may stand on the way, because its entries are safe."""
    status = os.fstat(descriptor)
    if status.st_uid not in (0, os.geteuid()):
        raise Rejected(f"{shown} belongs to user {status.st_uid}, not to root; nothing was done")
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        raise Rejected(f"{shown} may be written by others than root (chmod go-w {shown}); nothing was done")


class Folder:
    """A checked folder, held open. A context manager; its methods raise OSError with the full path, and Rejected
    for links, foreign owners and anything that is not a regular file or a folder."""

    __slots__ = ("descriptor", "path")

    def __init__(self, descriptor: int, path: str) -> None:
        self.descriptor = descriptor
        self.path = path

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def shown(self, name: str) -> str:
        """The full path of an entry, for messages and for tools that take no descriptor."""
        return os.path.join(self.path, _component(name))

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.shown(name)) from None

    def folder(self, name: str) -> Folder:
        """An existing folder in this one; raises FileNotFoundError when there is none."""
        shown = self.shown(name)
        descriptor = _open(name, _FOLDER, self.descriptor, shown)
        try:
            _check_folder(descriptor, shown)
        except BaseException:
            os.close(descriptor)
            raise
        return Folder(descriptor, shown)

    def make(self, name: str, mode: int = 0o700, group: int = -1, *, durable: bool = True) -> Folder:
        """The folder of this name, made when there is none; its mode and group are set either way.

        durable: False leaves it to the caller to sync this folder when all is made that belongs together.
        """
        made = False
        with suppress(FileExistsError):
            with self._naming(name):
                os.mkdir(_component(name), 0o700, dir_fd=self.descriptor)
            made = True
        folder = self.folder(name)
        try:
            status = os.fstat(folder.descriptor)
            if group not in (-1, status.st_gid):
                os.fchown(folder.descriptor, -1, group)
            if stat.S_IMODE(status.st_mode) != mode:
                os.fchmod(folder.descriptor, mode)
            if made and durable:
                folder.sync()
                self.sync()
        except BaseException:
            folder.close()
            raise
        return folder

    def open(self, name: str, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
        """A descriptor of a regular file that belongs to root."""
        shown = self.shown(name)
        descriptor = _open(name, flags | _FILE, self.descriptor, shown, mode)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in (0, os.geteuid()):
            os.close(descriptor)
            raise Rejected(f"{shown} is not a regular file that belongs to root; nothing was done")
        return descriptor

    def read(self, name: str, limit: int = 1 << 20) -> bytes:
        """The content of a small file; raises Rejected when it is larger than `limit` bytes."""
        with os.fdopen(self.open(name), "rb") as stream:
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise Rejected(f"{self.shown(name)} is larger than {limit} bytes")
        return data

    def write(self, name: str, data: bytes, mode: int = 0o600, *, durable: bool = True) -> None:
        """Replace a file: after a power loss the old or the new content is there, the new one once this returns.

        durable: False leaves it to the caller to sync this folder; until then it may be the old one.
        """
        temporary, descriptor = self._fill(name, data, mode)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.rename(temporary, self, name, durable=durable)

    def write_ahead(self, name: str, data: bytes, mode: int = 0o600) -> Callable[[], None]:
        """Replace a file at once. What is returned must be called, once: it waits until the content is on disk.

        A power loss before that may leave a part of it, so whoever uses the file later must be able to tell. This
        folder is left to the caller to sync.
        """
        temporary, descriptor = self._fill(name, data, mode)

        def settle() -> None:
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

        try:
            self.rename(temporary, self, name, durable=False)
        except BaseException:
            os.close(descriptor)
            raise
        return settle

    def _fill(self, name: str, data: bytes, mode: int) -> tuple[str, int]:
        """A new file with this content beside the one of this name: its name, and a descriptor of it."""
        temporary = f".{name}.new"
        self.remove(temporary, durable=False)
        descriptor = self.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with open(descriptor, "wb", closefd=False) as stream:
                stream.write(data)
        except BaseException:
            os.close(descriptor)
            raise
        return temporary, descriptor

    def status(self, name: str) -> os.stat_result | None:
        """The entry itself (a link is not followed), None when there is none."""
        try:
            return os.stat(_component(name), dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def exists(self, name: str) -> bool:
        return self.status(name) is not None

    def names(self) -> list[str]:
        return sorted(os.listdir(self.descriptor))

    def rename(self, name: str, target: Folder, new_name: str, *, durable: bool = True) -> None:
        """Replaces a file of the new name. durable: False leaves it to the caller to sync both folders."""
        with self._naming(name):
            os.rename(_component(name), _component(new_name), src_dir_fd=self.descriptor, dst_dir_fd=target.descriptor)
        if durable:
            target.sync()
        if durable and target.descriptor != self.descriptor:
            self.sync()

    def remove(self, name: str, *, durable: bool = True) -> bool:
        """Remove a file; False when there was none."""
        try:
            with self._naming(name):
                os.unlink(_component(name), dir_fd=self.descriptor)
        except FileNotFoundError:
            return False
        if durable:
            self.sync()
        return True

    def remove_tree(self, name: str) -> bool:
        """Remove a folder with all in it, whoever owns what lies there; links are removed, never followed."""
        status = self.status(name)
        if status is None:
            return False
        if stat.S_ISDIR(status.st_mode):
            with self._naming(name):
                _remove_tree(self.descriptor, _component(name), 0)
        else:
            self.remove(name, durable=False)
        self.sync()
        return True

    def sync(self) -> None:
        os.fsync(self.descriptor)


def _remove_tree(parent: int, name: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise OSError(errno.ENAMETOOLONG, f"folders are nested more than {_DEEPEST} deep")
    descriptor = os.open(name, _FOLDER, dir_fd=parent)
    try:
        with os.scandir(descriptor) as entries:
            listed = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for entry, is_folder in listed:
            if is_folder:
                _remove_tree(descriptor, entry, depth + 1)
            else:
                os.unlink(entry, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=parent)


def open_folder(path: Path, *, create: bool = False, mode: int = 0o755) -> Folder:
    """Open an absolute path from the root of the file system, each component checked.

    create: make what is missing (root's, with this mode), durably. Raises FileNotFoundError, Rejected.
    """
    if not path.is_absolute() or ".." in path.parts:
        raise Rejected(f"{path} is not an absolute path")
    folder = Folder(os.open("/", _FOLDER), "/")
    for part in path.parts[1:]:
        parent = folder
        try:
            folder = parent.make(part, mode) if create and not parent.exists(part) else parent.folder(part)
        finally:
            parent.close()
    return folder


def open_below(root: Path, *parts: str) -> Folder:
    """An existing folder below a root of the policy."""
    folder = open_folder(root)
    for part in parts:
        parent = folder
        try:
            folder = parent.folder(part)
        finally:
            parent.close()
    return folder
