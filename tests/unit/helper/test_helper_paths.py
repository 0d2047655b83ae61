"""Files of the root side: no link is followed, no foreign folder is trusted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from skep_helper import log
from skep_helper.paths import open_below, open_folder
from skep_helper.vocabulary import Rejected


@pytest.mark.parametrize("linked", range(3))
def test_a_symbolic_link_in_any_component_is_refused(tmp_path: Path, linked: int) -> None:
    real = tmp_path / "real"
    (real / "a" / "b" / "c").mkdir(parents=True)
    parts = ["a", "b", "c"]
    tree = tmp_path / "tree"
    tree.joinpath(*parts[:linked]).mkdir(parents=True)
    tree.joinpath(*parts[: linked + 1]).symlink_to(real.joinpath(*parts[: linked + 1]))
    with pytest.raises(Rejected, match="symbolic link"):
        open_below(tree, *parts)
    with pytest.raises(Rejected, match="symbolic link"):
        open_folder(tree.joinpath(*parts, "d"), create=True)
    assert not (real / "a" / "b" / "c" / "d").exists()


def test_a_file_that_is_a_link_is_neither_read_nor_written(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with open_folder(tmp_path / "tree", create=True) as folder:
        (tmp_path / "tree" / "file").symlink_to(secret)
        for flags in (os.O_RDONLY, os.O_RDWR | os.O_CREAT):
            with pytest.raises(Rejected, match="symbolic link"):
                folder.open("file", flags)
        folder.write("file", b"new")
        assert not (tmp_path / "tree" / "file").is_symlink()
    assert secret.read_text() == "secret"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "a\0b"])
def test_a_name_is_one_component(tmp_path: Path, name: str) -> None:
    with open_folder(tmp_path) as folder:
        for work in (folder.open, folder.folder, folder.make, folder.remove, folder.remove_tree, folder.exists):
            with pytest.raises(Rejected):
                work(name)
    assert tmp_path.exists()


@pytest.mark.parametrize("path", ["relative", "/a/../b"])
def test_a_root_is_an_absolute_path(path: str) -> None:
    with pytest.raises(Rejected):
        open_folder(Path(path))


@pytest.mark.skipif(os.geteuid() != 0, reason="gives folders away")
def test_folders_of_others_are_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12_345, 12_345)
    with pytest.raises(Rejected, match="belongs to user 12345"):
        open_folder(tmp_path / "theirs")
    (tmp_path / "open").mkdir(mode=0o700)
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(Rejected, match="may be written by others"):
        open_folder(tmp_path / "open")
    (tmp_path / "file").write_text("x")
    os.chown(tmp_path / "file", 12_345, 12_345)
    with open_folder(tmp_path) as folder, pytest.raises(Rejected, match="belongs to root"):
        folder.open("file")


def test_pipes_and_sockets_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with open_folder(tmp_path) as folder, pytest.raises(Rejected, match="regular file"):
        folder.open("pipe")


def test_a_tree_is_removed_without_following_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    inside = tmp_path / "inside"
    (inside / "deep").mkdir(parents=True)
    (inside / "deep" / "link").symlink_to(outside)
    (inside / "file").write_text("x")
    with open_folder(tmp_path) as folder:
        assert folder.remove_tree("inside")
        assert not folder.remove_tree("inside")
    assert not inside.exists()
    assert (outside / "kept").read_text() == "kept"


def test_writing_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    (tmp_path / ".file.new").write_text("left by a crash")
    with open_folder(tmp_path) as folder:
        folder.write("file", b"one")
        folder.write("file", b"two")
        assert folder.read("file") == b"two"
        with pytest.raises(Rejected, match="larger"):
            folder.read("file", limit=2)
        assert folder.names() == ["file"]


def test_log_lines_cannot_be_forged(capfd: pytest.CaptureFixture[str]) -> None:
    log.line("refused", reason="a\nroot: all is well\x1b[2J\u2028" + "x" * 5000)
    written = capfd.readouterr().err
    assert written.count("\n") == 1
    assert "\x1b" not in written
    assert len(written) < 1000


def test_everything_is_durable_when_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of syncs: content before the name, then the name."""
    deeds: list[str] = []
    for name in ("fsync", "rename", "unlink", "mkdir", "rmdir"):
        real = getattr(os, name)

        def noted(first: int | str, *more: object, _name: str = name, _real: object = real, **words: object) -> object:
            place = os.path.basename(os.readlink(f"/proc/self/fd/{first}")) if isinstance(first, int) else first
            deeds.append(f"{_name} {place}")
            return _real(first, *more, **words)  # type: ignore[operator]

        monkeypatch.setattr(os, name, noted)

    def seen() -> list[str]:
        found = [deed for deed in deeds if deed != "unlink .file.new"]
        deeds.clear()
        return found

    with open_folder(tmp_path / "root", create=True) as root:
        assert seen()[-3:] == ["mkdir root", "fsync root", f"fsync {tmp_path.name}"]
        root.write("file", b"data")
        assert seen() == ["fsync .file.new", "rename .file.new", "fsync root"]
        settle = root.write_ahead("file", b"other")
        assert seen() == ["rename .file.new"]
        assert root.read("file") == b"other"
        settle()
        assert seen() == ["fsync file"]
        with root.make("target") as target:
            assert seen() == ["mkdir target", "fsync target", "fsync root"]
            root.rename("file", target, "moved")
            assert seen() == ["rename file", "fsync target", "fsync root"]
            target.remove("moved")
            assert seen() == ["unlink moved", "fsync target"]
        root.remove_tree("target")
        assert seen() == ["rmdir target", "fsync root"]
