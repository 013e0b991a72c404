"""The list of difficult pairs: flags by column, and what is not a list is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from relprop.datasets import DifficultList
from relprop.errors import InputError


def _list(tmp_path: Path, text: str) -> DifficultList:
    path = tmp_path / "hard.txt"
    path.write_text(text)
    return DifficultList(path, 3)


def test_flags_follow_the_columns(tmp_path: Path) -> None:
    hard = _list(tmp_path, "a\t1\t0\t0\n\nb.jpg\t0\t1\t1\t\r\n")
    assert hard.of("a") == {0: True, 1: False, 2: False}
    assert hard.of("b") == {0: False, 1: True, 2: True}
    assert hard.of("b.png") == hard.of("b")
    assert (len(hard), hard.pairs) == (2, 3)


def test_other_names_of_a_picture(tmp_path: Path) -> None:
    hard = _list(tmp_path, "42\t1\t0\t0\n")
    assert hard.of("COCO_val2014_000000000042", "42") == {0: True, 1: False, 2: False}


def test_names_with_dots_keep_them(tmp_path: Path) -> None:
    hard = _list(tmp_path, "a.1\t1\t0\t0\na.2\t0\t0\t0\n")
    assert hard.of("a.1") != hard.of("a.2")


def test_a_name_that_is_not_on_the_list_is_evaluated(tmp_path: Path) -> None:
    assert _list(tmp_path, "a\t0\t0\t0\n").of("b") == {0: True, 1: True, 2: True}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "a\t0\t0\t0\nb\t0\t0\n",
            r"3 columns of 0 or 1, .* but line 2 of '.*hard\.txt' has 2 behind the name",
        ),
        ("a 0 0 0\n", "line 1 of .* has 0 behind the name"),
        ("a\t0\t2\t0\n", "Expected 0 or 1 in every column but line 1 of '.*' has '2'"),
        ("a\t0\t0\t0\na.jpg\t0\t0\t0\n", r"every picture once but line 2 of '.*' has 'a\.jpg' again"),
        ("\n", r"list of difficult pairs but '.*hard\.txt' is empty"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(InputError, match=error):
        _list(tmp_path, text)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.txt', which does not exist"):
        DifficultList(tmp_path / "none.txt", 3)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(InputError, match="binary' has another encoding"):
        DifficultList(tmp_path / "binary", 3)
