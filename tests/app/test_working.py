"""Work in threads, with Stop; what a session leaves; the lines that reproduce a view. Without a browser."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

import relprop
from relprop.datasets import demo_clip_path, demo_image_path
from relprop.errors import InputError
from relprop.watch import passing

pytest.importorskip("gradio")

from relprop.app.desk import Desk
from relprop.app.given import given_files
from relprop.app.picture import code_lines
from relprop.app.uploads import MOST_CLIP_BYTES, uploaded_clip
from relprop.app.working import Jobs


def _forever(calls: list[int]) -> Any:
    def work(progress: Any) -> list[Any]:
        while True:
            passing("counting", 0, 1)
            calls.append(1)
            time.sleep(0.01)

    return work


def test_stop_ends_the_work_and_a_newer_question_the_older_one() -> None:
    jobs, calls = Jobs(), list[int]()
    first = jobs.run("a Picture", _forever(calls), 1)
    assert "progress" in next(first)[0]
    second = jobs.run("a Picture", lambda progress: ["done"], 1)
    assert [row[1] for row in second][-2] == "done"
    assert list(first)[-1][0] != "Stopped."  # the line is the newer one's
    assert jobs.ended == 1
    third = jobs.run("a Picture", _forever(calls), 1)
    next(third)
    jobs.stop("a ")
    assert "Stopped." in list(third)[-1][0]
    count = len(calls)
    time.sleep(0.1)
    assert (jobs.ended, len(calls)) == (2, count)
    assert all(thread.name != "relprop work" for thread in threading.enumerate())


def test_results_are_shown_as_they_come_and_a_mistake_keeps_them() -> None:
    def work(progress: Any) -> Iterator[list[str]]:
        yield ["one"]
        raise InputError("Expected more.")

    rows = list(Jobs().run("a Picture", work, 1))
    assert [row[1] for row in rows if isinstance(row[1], str)] == ["one"]
    assert "Expected more." in rows[-1][0]


def test_what_a_page_holds_goes_when_it_is_left(tmp_path: Path) -> None:
    desk, mine, yours = Desk(["scenes-resnet"]), *(SimpleNamespace(session_hash=s) for s in ("../a", "b"))
    closed = []
    talk = SimpleNamespace(close=lambda: closed.append(1))
    desk.keep("../a Picture", talk)
    rooms = [desk.room(mine), desk.room(yours)]
    assert rooms[0].parent == desk.folder
    assert desk.room(mine) == rooms[0] != rooms[1]
    work = desk.jobs.run("../a Picture", _forever([]), 1)
    next(work)
    desk.leave("../a")
    assert (desk.jobs.ended, closed, rooms[0].exists(), rooms[1].exists()) == (1, [1], False, True)
    desk.close()
    assert not desk.folder.exists()


@pytest.mark.parametrize("versus", [None, "2"])
def test_the_printed_python_gives_the_same_report(versus: str | None) -> None:
    with relprop.reports.Conversation("scenes-resnet", demo_image_path()) as talk:
        shown = next(iter(talk.ask(["lrp-composite"], 1, versus).numbers.values()))
    lines = code_lines(str(demo_image_path()), "scenes-resnet", ["lrp-composite"], 1, versus)
    names: dict[str, Any] = {}
    exec(lines.partition("# Python:")[2], names)
    (again,) = names["report"].numbers.values()
    assert (again.relevance - shown.relevance).abs().max() < 1e-5


def test_a_film_is_kept_in_the_pages_room(tmp_path: Path) -> None:
    pytest.importorskip("av")
    room = tmp_path / "room"
    room.mkdir()
    for _ in range(2):  # the second takes the place of the first
        (tmp_path / "clip.gif").write_bytes(demo_clip_path().read_bytes())
        film = uploaded_clip("clip.gif", tmp_path, room)
    assert [film] == list(film.parent.iterdir())
    assert not (tmp_path / "clip.gif").exists()
    (tmp_path / "words.mp4").write_text("no film")
    with pytest.raises(InputError, match="no film format fits") as raised:
        uploaded_clip("words.mp4", tmp_path, room)
    assert str(tmp_path) not in str(raised.value)
    still = [Image.new("L", (8, 8), i % 256) for i in range(3001)]
    still[0].save(tmp_path / "long.gif", save_all=True, append_images=still[1:], duration=20)
    with pytest.raises(InputError, match="at most 120 seconds but it has 3,001 frames"):
        uploaded_clip("long.gif", tmp_path, room)
    with (tmp_path / "huge.mp4").open("wb") as out:
        out.truncate(MOST_CLIP_BYTES + 1)
    with pytest.raises(InputError, match="at most 128 MB"):
        uploaded_clip("huge.mp4", tmp_path, room)


def test_what_a_path_stands_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has none"):
        given_files(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        given_files(tmp_path / "nowhere")
    for name, source in {"b.png": demo_image_path(), "c.gif": demo_clip_path()}.items():
        (tmp_path / name).write_bytes(source.read_bytes())
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "a.mp4").write_text("looked at when it is opened")
    pictures, clips = given_files(tmp_path)
    assert ([p.name for p in pictures], [c.name for c in clips]) == (["b.png"], ["a.mp4", "c.gif"])
    with pytest.raises(InputError, match=r"a picture or a clip .*notes\.txt"):
        given_files(tmp_path / "notes.txt")
    assert given_files(tmp_path / "c.gif") == ([], [tmp_path / "c.gif"])
