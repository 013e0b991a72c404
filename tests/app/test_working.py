"""Work in threads, with Stop; what a session leaves; the lines that reproduce a view. Without a browser."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

import relprop
from relprop.datasets import demo_clip_path, demo_image_path
from relprop.errors import InputError
from relprop.watch import passing

pytest.importorskip("gradio")

from relprop.app.compare import same_class
from relprop.app.desk import Desk
from relprop.app.given import given_files
from relprop.app.picture import code_lines
from relprop.app.uploads import MOST_CLIP_BYTES, received, uploaded_clip, uploaded_picture
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


def test_a_question_waits_until_what_it_is_about_is_open() -> None:
    jobs, may_open, seen = Jobs(), threading.Event(), list[str]()

    def opening(progress: Any) -> Iterator[list[str]]:
        while not may_open.wait(0.01):
            progress(0, 1, "opening")
        seen.append("open")
        yield ["picture"]
        seen.append("first answer")  # nobody asks for it any more
        yield ["first answer"]

    def question(progress: Any) -> Iterator[list[str]]:
        seen.append("asked")
        yield ["answer"]

    first = jobs.run("a Picture", opening, 1, opens=True)
    assert "progress" in next(first)[0]
    second = jobs.run("a Picture", question, 1)
    next(second)
    third = jobs.run("a Picture", question, 1)  # a newer one, about the same
    next(third)
    may_open.set()
    assert [row[1] for row in third if isinstance(row[1], str)] == ["answer"]
    assert [row[1] for row in first if isinstance(row[1], str)] == ["picture"]
    assert [row[1] for row in second if isinstance(row[1], str)] == []
    assert seen == ["open", "asked"]


@pytest.mark.parametrize("how", ["stop", "another picture"])
def test_who_waits_for_an_opening_ends_with_it(how: str) -> None:
    jobs, calls = Jobs(), list[int]()
    first = jobs.run("a Picture", _forever(calls), 1, opens=True)
    next(first)
    second = jobs.run("a Picture", _forever(calls), 1)
    next(second)
    if how == "stop":
        jobs.stop("a ")
        assert "Stopped." in list(second)[-1][0]
    else:
        third = jobs.run("a Picture", lambda progress: ["done"], 1, opens=True)
        assert [row[1] for row in third if isinstance(row[1], str)] == ["done"]
        assert "Stopped." not in str(list(second))
    list(first)
    assert all(thread.name != "relprop work" for thread in threading.enumerate())


def test_what_cannot_be_opened_says_so_to_who_waits() -> None:
    jobs, may_fail = Jobs(), threading.Event()

    def opening(progress: Any) -> list[str]:
        may_fail.wait()
        raise InputError("Expected a picture but got words.")

    first = jobs.run("a Picture", opening, 1, opens=True)
    next(first)
    second, third = (jobs.run("a Picture", lambda progress: ["never"], 1) for _ in range(2))
    next(second)
    next(third)
    may_fail.set()
    rows = list(third)
    assert "Expected a picture but got words." in rows[-1][0]
    assert all(row[1] != "never" for row in rows)


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

    def sent(name: str) -> Path:
        place = tmp_path / "uploads" / name.partition(".")[0]
        place.mkdir(parents=True)
        return place / name

    def read(file: Path) -> Path:
        return uploaded_clip(str(file.relative_to(tmp_path)), tmp_path, room)

    for _ in range(2):  # the second takes the place of the first
        clip = sent("clip.gif")
        clip.write_bytes(demo_clip_path().read_bytes())
        film = read(clip)
    assert [film] == list(film.parent.iterdir())
    words = sent("words.mp4")
    words.write_text("no film")
    with pytest.raises(InputError, match="no film format fits") as raised:
        read(words)
    assert str(tmp_path) not in str(raised.value)
    still = [Image.new("L", (8, 8), i % 256) for i in range(3001)]
    still[0].save(long := sent("long.gif"), save_all=True, append_images=still[1:], duration=20)
    with pytest.raises(InputError, match="at most 120 seconds but it has 3,001 frames"):
        read(long)
    with (huge := sent("huge.mp4")).open("wb") as out:
        out.truncate(MOST_CLIP_BYTES + 1)
    with pytest.raises(InputError, match="at most 128 MB"):
        read(huge)
    assert list((tmp_path / "uploads").iterdir()) == []


def test_what_another_page_or_all_pages_have_is_not_read_as_an_upload(tmp_path: Path) -> None:
    others = [
        tmp_path / name for name in ("examples/scene.png", "session-a/clip/film.png", "uploads/file.png")
    ]
    for file in others:
        file.parent.mkdir(parents=True)
        file.write_bytes(demo_image_path().read_bytes())
        with pytest.raises(InputError, match="uploaded on this page"):
            uploaded_picture(str(file.relative_to(tmp_path)), tmp_path)
    assert all(file.exists() for file in others)


def test_an_upload_that_nobody_asks_about_is_removed_in_the_end(tmp_path: Path) -> None:
    class Sent:
        headers = {"x-name": "a.png"}  # noqa: RUF012

        async def stream(self) -> Any:
            yield b"picture"

    status, first = asyncio.run(received(Sent(), tmp_path))
    assert status == 200
    os.utime((tmp_path / first).parent, (0, time.time() - 3600))
    _, second = asyncio.run(received(Sent(), tmp_path))
    assert not (tmp_path / first).parent.exists()
    assert (tmp_path / second).read_bytes() == b"picture"


def test_of_too_many_conversations_the_one_that_is_used_stays() -> None:
    desk = Desk(["scenes-resnet"])
    talks = [SimpleNamespace(close=lambda: None) for _ in range(9)]
    for i, talk in enumerate(talks[:8]):
        desk.keep(f"{i} Picture", talk)
    assert desk.kept("0 Picture") is talks[0]
    desk.keep("8 Picture", talks[8])
    assert desk.kept("0 Picture") is talks[0]
    assert desk.kept("1 Picture") is None
    desk.close()


def test_two_checkpoints_without_class_names_are_asked_about_the_same_class() -> None:
    nets = [torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 4)) for _ in range(2)]
    one, two = (relprop.reports.Conversation(net.eval(), torch.rand(1, 3, 8, 8)) for net in nets)
    with one, two:
        first = one.predictions[0]
        target = same_class(first.name, one.predictions, two.predictions)
        report = two.ask(target=target, method="gradient")
    assert report.document["images"][0]["targets"] == [{"index": first.index, "name": first.name}]


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
