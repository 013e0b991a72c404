from __future__ import annotations

import os
from pathlib import Path

import pytest

from relprop.errors import InputError
from relprop.storage import new_folder, write_file


def test_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    with new_folder(target) as folder:
        (folder / "one.txt").write_text("1")
        assert not target.exists()
    assert (target / "one.txt").read_text() == "1"
    assert list(target.parent.iterdir()) == [target]


def _write_then(path: Path, error: type[BaseException], overwrite: bool = False) -> None:
    with new_folder(path, overwrite) as folder:
        (folder / "half.txt").write_text("1")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_errors_and_interrupts_leave_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        _write_then(tmp_path / "a" / "b", error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failed_overwrite_keeps_the_old(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "b"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(error):
        _write_then(target, error, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    assert [p.name for p in target.iterdir()] == ["old.txt"]


def test_failed_swap_puts_the_old_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "b"
    target.mkdir()
    (target / "old.txt").write_text("old")
    rename = Path.rename

    def failing(self: Path, to: Path) -> Path:
        if self.suffix == ".part":
            raise OSError("no")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no"), new_folder(target, overwrite=True):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    assert (target / "old.txt").read_text() == "old"


def test_existing_things_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"), new_folder(tmp_path / "file", overwrite=True):
        pass
    with pytest.raises(InputError, match="overwrite=True"), new_folder(tmp_path):
        pass
    with (
        pytest.raises(InputError, match="not ours"),
        new_folder(tmp_path, overwrite=True, ours=lambda path: "it is not ours"),
    ):
        pass
    assert (tmp_path / "file").read_text() == "x"


def test_folder_made_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "b"

    def race() -> None:
        with new_folder(target):
            target.mkdir()
            (target / "theirs.txt").write_text("theirs")

    with pytest.raises(InputError, match="exists"):
        race()
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    assert (target / "theirs.txt").exists()


def test_links_are_followed(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    link = tmp_path / "link"
    link.symlink_to(real)
    with new_folder(link, overwrite=True) as folder:
        (folder / "new.txt").write_text("new")
    assert link.is_symlink()
    assert (real / "new.txt").exists()


def test_permissions_are_the_users(tmp_path: Path) -> None:
    with new_folder(tmp_path / "b"):
        pass
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "b").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_files_are_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_file(tmp_path / "deep" / "a.bin", b"old")
    assert path.read_bytes() == b"old"

    def broken(handle: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]
