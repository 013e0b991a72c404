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

from relprop.benchmark.job import ChunkResult
from relprop.benchmark.record import Pair, Problem, Record
from relprop.benchmark.store import Store, Wanted
from relprop.errors import InputError, RelpropError

FACTS = {"data": "d", "weights": "w", "version": "1"}
NAMES = ["x", *(f"p{n}-{i}" for n in range(40) for i in range(400))]
WANTED = Wanted({"a": "method a", "b": "method b"}, {"k": "metric k"}, NAMES)
ASKED = {"a": ("k",), "b": ("k",)}

WRITER = """
import sys
from relprop.benchmark.job import ChunkResult
from relprop.benchmark.record import Record
from relprop.benchmark.store import Store, Wanted

names = [f"{n}-{i}" for n in range(500) for i in range(300)]
with Store(sys.argv[1], {"data": "d"}, Wanted({"m": "m"}, {"k": "k"}, names)) as store:
    print("open", flush=True)
    for n in range(500):
        rows = tuple(Record(f"{n}-{i}", 0, "m", "k", {"v": float(i)}) for i in range(300))
        store.write(ChunkResult(n, 300, 1.0, rows, (), {r.image: {"m": ("k",)} for r in rows}))
        print(n, flush=True)
"""


def opened(path: Path, facts: dict[str, str] = FACTS) -> Store:
    return Store(path, facts, WANTED)


def chunk(n: int, pictures: int = 2, problems: tuple[Problem, ...] = ()) -> ChunkResult:
    rows = [
        Record(f"p{n}-{i}", label, method, "k", {"v": 1 / (1 + n + i + label)}, ("all", "dif"))
        for i in range(pictures)
        for label in (0, 1)
        for method in ("a", "b")
    ]
    pairs = {f"p{n}-{i}": (Pair(0, 7, True), Pair(1, i, False)) for i in range(pictures)}
    done = dict.fromkeys(pairs, ASKED)
    return ChunkResult(n, pictures, 0.5, tuple(rows), problems, done, pairs)


def pictures_of(store: Store) -> set[str]:
    """Pictures on which everything is done."""
    return set.intersection(*store.done().values())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "folder" / "results.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with opened(path) as made:
        yield made


def test_what_goes_in_comes_out(store: Store, path: Path) -> None:
    assert (pictures_of(store), store.records(), store.problems(), store.pairs()) == (set(), [], [], {})
    store.write(chunk(0, problems=(Problem("x", "data", "no such file"),)))
    store.write(chunk(3, pictures=1))
    assert pictures_of(store) == {"p0-0", "p0-1", "p3-0"}
    assert store.work() == 1.0
    assert set(map(repr, store.records())) == set(map(repr, [*chunk(0).records, *chunk(3, 1).records]))
    kept, problems = store.records(), store.problems()
    assert problems == [Problem("x", "data", "no such file")]
    assert store.failed() == ({"x"}, {"a": set(), "b": set()})
    assert store.pairs() == {**chunk(0).pairs, **chunk(3, 1).pairs}
    store.close()
    with opened(path) as again:
        assert (again.records(), again.problems()) == (kept, problems)


def test_only_what_is_wanted_is_read(store: Store, path: Path) -> None:
    problem = Problem("p0-1", "b / k", "can't be had")
    store.write(chunk(0, problems=(problem, Problem("p0-0", "b", "refused"))))
    store.close()
    # Labels are how things are called this time; what they stand for is in the keys.
    other = Wanted({"B": "method b", "c": "method c"}, {"K": "metric k", "l": "metric l"}, ["p0-1", "p9-0"])
    with Store(path, FACTS, other) as again:
        found = again.records()
        assert [(r.image, r.label, r.method, r.metric) for r in found] == [
            ("p0-1", 0, "B", "K"),
            ("p0-1", 1, "B", "K"),
        ]
        assert again.problems() == [replace(problem, where="B / K")]
        assert again.done() == {
            ("B", "K"): {"p0-1"}, ("B", "l"): set(), ("c", "K"): set(), ("c", "l"): set()
        }  # fmt: skip
        assert again.pairs() == {"p0-1": chunk(0).pairs["p0-1"]}
    with opened(path) as again:  # the rest is still there
        assert len(again.records()) == 8
        assert again.failed() == (set(), {"a": set(), "b": {"p0-0"}})


def test_two_names_of_one_thing(tmp_path: Path) -> None:
    wanted = Wanted({"one": "method a", "two": "method a"}, {"k": "metric k"}, ["p"])
    with Store(tmp_path / "a.sqlite", FACTS, wanted) as store:
        rows = tuple(Record("p", 0, label, "k", {"v": 0.5}) for label in ("one", "two"))
        asked = {"p": {"one": ("k",), "two": ("k",)}}
        store.write(ChunkResult(0, 1, 0.1, rows, (Problem("p", "one", "t"),), asked))
        assert store.records() == list(rows)
        assert store.problems() == [Problem("p", "one", "t"), Problem("p", "two", "t")]


def test_a_picture_of_no_known_class_was_asked_about(store: Store) -> None:
    store.write(ChunkResult(0, 1, 0.1, (), (), {"x": ASKED}, {"x": ()}))
    assert store.pairs() == {"x": ()}


def test_what_the_last_run_wanted_is_told(path: Path) -> None:
    with Store(path, FACTS, WANTED, {"recipe": "{}"}) as store:
        store.write(chunk(0))
    with Store(path, None) as read:
        assert read.told()["recipe"] == "{}"
        assert (read.wanted.methods, read.wanted.metrics) == (WANTED.methods, WANTED.metrics)
        assert list(read.wanted.pictures) == NAMES
        assert len(read.records()) == 8
        assert {k: read.facts()[k] for k in FACTS} == FACTS
    with pytest.raises(InputError, match=r"but got '.*nowhere', which does not exist"):
        Store(path.with_name("nowhere"), None)


def test_order_of_writing_does_not_show(tmp_path: Path) -> None:
    chunks = [
        chunk(n, problems=(Problem(f"p{n}-1", "b", "t"), Problem(f"p{n}-0", "a", "t"))) for n in range(6)
    ]
    seen = []
    for seed in range(3):
        order = random.Random(seed).sample(chunks, len(chunks))
        with opened(tmp_path / f"{seed}.sqlite") as store:
            for one in order:
                rows = random.Random(seed).sample(one.records, len(one.records))
                store.write(replace(one, records=tuple(rows)))
            seen.append((store.records(), store.problems(), store.done()))
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
    store.write(ChunkResult(0, 1, 1 / 3, (Record("x", 0, "a", "k", values),), ()))
    (found,) = store.records()
    assert {k: repr(v) for k, v in found.values.items()} == {k: repr(v) for k, v in values.items()}
    assert list(found.values) == list(values)
    assert store.work() == 1 / 3


@pytest.mark.parametrize(
    "name", ["näme 日本 🙂.png", 'o\'neil "x".png', "a,b;c%d\\e", "'); drop table records; --", "", " \t\n"]
)
def test_weird_names(tmp_path: Path, name: str) -> None:
    record = Record(name, -1, name, name, {name: 1.0}, ("all", "all-p"))
    asked = {name: {name: (name,)}}
    with Store(tmp_path / "a.sqlite", FACTS, Wanted({name: name}, {name: name}, [name])) as store:
        store.write(ChunkResult(0, 1, 1.0, (record,), (Problem(name, name, name),), asked))
        assert store.records() == [record]
        assert store.problems() == [Problem(name, name, name)]
        assert store.done() == {(name, name): {name}}
    with Store(tmp_path / "a.sqlite", None) as read:
        assert read.records() == [record]


def test_no_values_and_every_subset(store: Store) -> None:
    subsets = ("all", "dif", "all-p", "dif-p")
    record = Record("x", 0, "a", "k", {}, subsets)
    store.write(ChunkResult(0, 1, 1.0, (record,), ()))
    assert store.records() == [record]


def test_writing_a_chunk_again_replaces_it(store: Store) -> None:
    store.write(chunk(0))
    store.write(chunk(1, pictures=4, problems=(Problem("p1-0", "a / k", "x"), Problem("p1-1", "b", "y"))))
    again = replace(chunk(1, pictures=1), records=chunk(1, pictures=1).records[:1])
    store.write(again)
    assert [r for r in store.records() if r.image == "p1-0"] == list(again.records)
    assert {r.image for r in store.records()} == {"p0-0", "p0-1", *(f"p1-{i}" for i in range(4))}
    assert store.problems() == [Problem("p1-1", "b", "y")]


def test_a_chunk_is_all_there_or_not_at_all(store: Store, path: Path) -> None:
    store.write(chunk(0))
    before = store.records()
    broken = (*chunk(1).records, replace(chunk(1).records[0], label=None))
    for result in (
        replace(chunk(1), records=broken, problems=(Problem("x", "b", "c"),)),
        replace(
            chunk(0), records=(replace(chunk(0).records[0], label=None),)
        ),  # what is there isn't replaced
    ):
        with pytest.raises(RelpropError, match=r"while writing .*NOT NULL"):
            store.write(result)
        assert (store.records(), store.problems()) == (before, [])
        assert (pictures_of(store), store.work()) == ({"p0-0", "p0-1"}, 0.5)
    store.write(chunk(1))
    store.close()
    with opened(path) as again:
        assert pictures_of(again) == {"p0-0", "p0-1", "p1-0", "p1-1"}


@pytest.mark.parametrize("fact", list(FACTS))
def test_other_results_are_refused_by_name(store: Store, path: Path, fact: str) -> None:
    store.write(chunk(0))
    store.close()
    text = (
        rf"^Expected results of the same {fact} in '.*' but they were made with another \(.*, now zz\)\. Use"
    )
    with pytest.raises(InputError, match=text):
        opened(path, {**FACTS, fact: "zz"})
    with opened(path) as again:  # the refusal changed nothing, and let go of the file
        assert pictures_of(again) == {"p0-0", "p0-1"}


def test_long_facts_are_cut_in_the_text(path: Path) -> None:
    opened(path, {"data": "a" * 64}).close()
    with pytest.raises(InputError, match=r"\(a{12}…, now b{12}…\)\."):
        opened(path, {"data": "b" * 64})


def test_results_of_an_earlier_version(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    base = sqlite3.connect(file)
    base.execute("create table facts (name text primary key, value text not null)")
    base.execute("insert into facts values ('recipe', 'r'), ('data', 'd')")
    base.commit()
    base.close()
    for facts in (FACTS, None):
        with pytest.raises(InputError, match=r"as this version of relprop keeps them .* another version's"):
            Store(file, facts, WANTED)


def test_another_kind_of_file(tmp_path: Path) -> None:
    file = tmp_path / "thesis.txt"
    file.write_text("years of work\n" * 100)
    with pytest.raises(InputError, match=r"thesis\.txt' .*another kind"):
        opened(file)
    assert file.read_text() == "years of work\n" * 100


def test_another_database(tmp_path: Path) -> None:
    file = tmp_path / "other.sqlite"
    base = sqlite3.connect(file)
    base.execute("create table records (a, b)")
    base.commit()
    base.close()
    before = file.read_bytes()
    with pytest.raises(InputError, match="a database of something"):
        opened(file)
    assert file.read_bytes() == before


def test_damaged_file(store: Store, path: Path) -> None:
    for n in range(20):
        store.write(chunk(n, pictures=20))
    store.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xab" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(RelpropError, match="is damaged"):
        opened(path)


def test_an_empty_file_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").touch()
    with pytest.raises(InputError, match="but it is empty"):
        Store(tmp_path / "a.sqlite", None)
    assert not (tmp_path / "a.sqlite").stat().st_size
    with opened(tmp_path / "a.sqlite") as store:
        store.write(chunk(0))
        assert pictures_of(store) == {"p0-0", "p0-1"}


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(RelpropError, match="which is a folder"):
        opened(tmp_path)


def test_a_file_where_its_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RelpropError, match=r"make the folder '.*file'"):
        opened(tmp_path / "file" / "a.sqlite")


def test_one_writer_at_a_time(store: Store, path: Path) -> None:
    store.write(chunk(0))
    with pytest.raises(RelpropError, match="another run holds it"):
        opened(path)
    store.write(chunk(1))
    store.close()
    opened(path).close()


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
        assert (store.records(), pictures_of(store)) == (before, {"p0-0", "p0-1"})
    store._base.execute(f"pragma max_page_count = {most}")
    store.write(large)
    assert len(pictures_of(store)) == 402
    assert len(store.records()) == len(before) + 1600
    store.close()
    assert sqlite3.connect(path).execute("pragma integrity_check").fetchone() == ("ok",)


def test_killed_while_writing(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    wanted = Wanted({"m": "m"}, {"k": "k"}, [f"{n}-{i}" for n in range(500) for i in range(300)])
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child, child.stdout as lines:
        assert lines.readline() == "open\n"
        # Another process, not only another connection, finds it taken.
        with pytest.raises(RelpropError, match="another run holds it"):
            Store(file, {"data": "d"}, wanted)
        for line in lines:
            if int(line) >= 5:
                break
        time.sleep(0.1)  # somewhere in the middle of a write
        child.send_signal(signal.SIGKILL)
        last = max([5, *(int(line) for line in lines if line.endswith("\n"))])
    assert child.returncode == -signal.SIGKILL
    with Store(file, {"data": "d"}, wanted) as store:  # the lock went with the process
        (done,) = store.done().values()
        chunks = {int(name.split("-")[0]) for name in done}
        assert chunks == set(range(len(chunks)))
        assert len(chunks) in (last + 1, last + 2)  # every chunk that was reported, perhaps the next one
        assert len(done) == 300 * len(chunks)
        assert {r.image for r in store.records()} == done
        assert store.work() == len(chunks)
