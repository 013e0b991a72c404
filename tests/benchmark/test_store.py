"""The results file: a chunk is there or it isn't, whatever happens to the process, the disk or the file."""

from __future__ import annotations

import math
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from relprop.benchmark.record import Problem, Record
from relprop.benchmark.store import ChunkResult, Store
from relprop.errors import InputError, RelpropError

FACTS = {"recipe": "r", "data": "d", "weights": "w", "version": "1"}

WRITER = """
import sys
from relprop.benchmark.record import Record
from relprop.benchmark.store import ChunkResult, Store

with Store(sys.argv[1], {"recipe": "r"}) as store:
    print("open", flush=True)
    for n in range(100_000):
        rows = tuple(Record(f"{n}-{i}", 0, "m", "k", {"v": float(i)}) for i in range(300))
        store.write(ChunkResult(n, 300, 1.0, rows, ()))
        print(n, flush=True)
"""


def chunk(n: int, pictures: int = 2, problems: tuple[Problem, ...] = ()) -> ChunkResult:
    rows = [
        Record(f"p{n}-{i}", label, method, "k", {"v": 1 / (1 + n + i + label)}, ("all", "dif"))
        for i in range(pictures)
        for label in (0, 1)
        for method in ("a", "b")
    ]
    return ChunkResult(n, pictures, 0.5, tuple(rows), problems)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "folder" / "results.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path, FACTS) as opened:
        yield opened


def test_what_goes_in_comes_out(store: Store, path: Path) -> None:
    assert (store.chunks(), store.records(), store.problems()) == ({}, [], [])
    store.write(chunk(0, problems=(Problem("x", "data", "no such file"),)))
    store.write(chunk(3, pictures=1))
    assert store.chunks() == {0: (2, 0.5), 3: (1, 0.5)}
    assert set(map(repr, store.records())) == set(map(repr, [*chunk(0).records, *chunk(3, 1).records]))
    kept, problems = store.records(), store.problems()
    assert problems == [Problem("x", "data", "no such file")]
    store.close()
    with Store(path, FACTS) as again:
        assert (again.records(), again.problems()) == (kept, problems)


def test_order_of_writing_does_not_show(tmp_path: Path) -> None:
    chunks = [
        chunk(n, problems=(Problem(f"p{n}-1", "b", "t"), Problem(f"p{n}-0", "a", "t"))) for n in range(6)
    ]
    seen = []
    for seed in range(3):
        order = random.Random(seed).sample(chunks, len(chunks))
        with Store(tmp_path / f"{seed}.sqlite", FACTS) as store:
            for one in order:
                rows = random.Random(seed).sample(one.records, len(one.records))
                store.write(replace(one, records=tuple(rows)))
            seen.append((store.records(), store.problems(), list(store.chunks())))
    assert seen[0] == seen[1] == seen[2]
    keys = [(r.image, r.label, r.method, r.metric) for r in seen[0][0]]
    assert keys == sorted(keys)


def test_floats_survive_exactly(store: Store) -> None:
    values = {
        "third": 1 / 3,
        "least": 5e-324,
        "most": 1.7976931348623157e308,
        "minus zero": -0.0,
        "step": 1 + 2**-52,
        "step@07 conv.1": 0.1 + 0.2,
        "inf": math.inf,
        "nan": math.nan,
    }
    store.write(ChunkResult(0, 1, 1 / 3, (Record("a", 0, "m", "k", values),), ()))
    (found,) = store.records()
    assert {k: repr(v) for k, v in found.values.items()} == {k: repr(v) for k, v in values.items()}
    assert list(found.values) == list(values)
    assert store.chunks() == {0: (1, 1 / 3)}


@pytest.mark.parametrize(
    "name", ["näme 日本 🙂.png", 'o\'neil "x".png', "a,b;c%d\\e", "'); drop table records; --", "", " \t\n"]
)
def test_weird_names(store: Store, name: str) -> None:
    record = Record(name, -1, name, name, {name: 1.0}, ("all", "all-p"))
    store.write(ChunkResult(0, 1, 1.0, (record,), (Problem(name, name, name),)))
    assert store.records() == [record]
    assert store.problems() == [Problem(name, name, name)]


def test_no_values_and_every_subset(store: Store) -> None:
    subsets = ("all", "dif", "all-p", "dif-p")
    record = Record("a", 0, "m", "k", {}, subsets)
    store.write(ChunkResult(0, 1, 1.0, (record,), ()))
    assert store.records() == [record]


def test_writing_a_chunk_again_replaces_it(store: Store) -> None:
    store.write(chunk(0))
    store.write(chunk(1, pictures=4, problems=(Problem("p1-0", "data", "x"),)))
    store.write(chunk(1, pictures=1))
    assert store.chunks() == {0: (2, 0.5), 1: (1, 0.5)}
    assert {r.image for r in store.records()} == {"p0-0", "p0-1", "p1-0"}
    assert store.problems() == []


def test_a_chunk_is_all_there_or_not_at_all(store: Store, path: Path) -> None:
    store.write(chunk(0))
    before = store.records()
    twice = (*chunk(1).records, chunk(1).records[0])
    with pytest.raises(RelpropError, match=r"while writing .*UNIQUE"):
        store.write(ChunkResult(1, 2, 1.0, twice, (Problem("a", "b", "c"),)))
    assert (store.records(), store.problems(), list(store.chunks())) == (before, [], [0])
    with pytest.raises(RelpropError, match="UNIQUE constraint failed"):  # a pair that another chunk has
        store.write(replace(chunk(0), chunk=2))
    assert list(store.chunks()) == [0]
    store.write(chunk(1))
    assert list(store.chunks()) == [0, 1]
    store.close()
    with Store(path, FACTS) as again:
        assert list(again.chunks()) == [0, 1]


def test_replacing_a_chunk_fails_whole(store: Store) -> None:
    store.write(chunk(0))
    before = store.records()
    with pytest.raises(RelpropError, match="UNIQUE constraint failed"):
        store.write(replace(chunk(0), records=(chunk(0).records[0],) * 2))
    assert store.records() == before


@pytest.mark.parametrize("fact", list(FACTS))
def test_other_results_are_refused_by_name(store: Store, path: Path, fact: str) -> None:
    store.write(chunk(0))
    store.close()
    text = (
        rf"^Expected results of the same {fact} in '.*' but they were made with another \(.*, now zz\)\. Use"
    )
    with pytest.raises(InputError, match=text):
        Store(path, {**FACTS, fact: "zz"})
    with Store(path, FACTS) as again:  # the refusal changed nothing, and let go of the file
        assert list(again.chunks()) == [0]


def test_long_facts_are_cut_in_the_text(path: Path) -> None:
    Store(path, {"recipe": "a" * 64}).close()
    with pytest.raises(InputError, match=r"\(a{12}…, now b{12}…\)\."):
        Store(path, {"recipe": "b" * 64})


def test_another_kind_of_file(tmp_path: Path) -> None:
    file = tmp_path / "thesis.txt"
    file.write_text("years of work\n" * 100)
    with pytest.raises(InputError, match=r"thesis\.txt' .*another kind"):
        Store(file, FACTS)
    assert file.read_text() == "years of work\n" * 100


def test_another_database(tmp_path: Path) -> None:
    file = tmp_path / "other.sqlite"
    base = sqlite3.connect(file)
    base.execute("create table records (a, b)")
    base.commit()
    base.close()
    before = file.read_bytes()
    with pytest.raises(InputError, match="a database of something"):
        Store(file, FACTS)
    assert file.read_bytes() == before


def test_damaged_file(store: Store, path: Path) -> None:
    for n in range(20):
        store.write(chunk(n, pictures=20))
    store.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xab" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(RelpropError, match="is damaged"):
        Store(path, FACTS)


def test_an_empty_file_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").touch()
    with Store(tmp_path / "a.sqlite", FACTS) as store:
        store.write(chunk(0))
        assert list(store.chunks()) == [0]


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(RelpropError, match="which is a folder"):
        Store(tmp_path, FACTS)


def test_a_file_where_its_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RelpropError, match=r"make the folder '.*file'"):
        Store(tmp_path / "file" / "a.sqlite", FACTS)


def test_one_writer_at_a_time(store: Store, path: Path) -> None:
    store.write(chunk(0))
    with pytest.raises(RelpropError, match="another run holds it"):
        Store(path, FACTS)
    store.write(chunk(1))
    store.close()
    Store(path, FACTS).close()


def test_a_full_disk_keeps_what_was_there(store: Store, path: Path) -> None:
    store.write(chunk(0))
    before = store.records()
    (pages,) = store._base.execute("pragma page_count").fetchone()
    (most,) = store._base.execute("pragma max_page_count").fetchone()
    store._base.execute(f"pragma max_page_count = {pages}")
    large = chunk(1, pictures=400)
    for _ in range(2):  # also when it is tried again
        with pytest.raises(RelpropError, match=r"full .*this chunk"):
            store.write(large)
        assert (store.records(), list(store.chunks())) == (before, [0])
    store._base.execute(f"pragma max_page_count = {most}")
    store.write(large)
    assert list(store.chunks()) == [0, 1]
    assert len(store.records()) == len(before) + 1600
    store.close()
    assert sqlite3.connect(path).execute("pragma integrity_check").fetchone() == ("ok",)


def test_killed_while_writing(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child, child.stdout as lines:
        assert lines.readline() == "open\n"
        # Another process, not only another connection, finds it taken.
        with pytest.raises(RelpropError, match="another run holds it"):
            Store(file, {"recipe": "r"})
        for line in lines:
            if int(line) >= 5:
                break
        time.sleep(0.1)  # somewhere in the middle of a write
        child.send_signal(signal.SIGKILL)
        last = max([5, *(int(line) for line in lines if line.endswith("\n"))])
    assert child.returncode == -signal.SIGKILL
    with Store(file, {"recipe": "r"}) as store:  # the lock went with the process
        done = store.chunks()
        assert list(done) == list(range(len(done)))
        assert len(done) in (last + 1, last + 2)  # every chunk that was reported, perhaps the next one
        images = [r.image for r in store.records()]
        assert len(images) == 300 * len(done)
        assert {int(name.split("-")[0]) for name in images} == set(done)
        store.write(chunk(200_000))
