"""What people hand over, by the dozen: every input gets its answer, or one clear sentence; nothing raw comes out.

Each table is {name: (value, whether the first call answers)}; the other calls may answer or refuse. With `-s`
every table prints one line of counts.
"""

from __future__ import annotations

import decimal
import errno
import fractions
import io
import os
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import relprop
from relprop.errors import InputError, RelpropError
from relprop.piecewise.region import crossing, distance

Table = Mapping[str, tuple[Any, bool]]
Calls = Mapping[str, Callable[[Any], object]]


class Marked(torch.Tensor):
    """A subclass of a user's."""


class Returns(nn.Module):
    """A model that returns what a function makes of its input."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 5)
    ).eval()


NET = _net()
X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def _meaningless() -> dict[str, tuple[Any, bool]]:
    """Things that are no tensor, no number and no name."""
    return {
        "None": (None, False),
        "a set": ({1.5}, False),
        "a dict": ({"x": X}, False),
        "a function": (len, False),
        "an object": (object(), False),
        "a module": (NET, False),
        "bytes": (b"abc", False),
        "a complex number": (1j, False),
    }


def _odd(make: Callable[[], Any]) -> Any:
    """A tensor of a kind that torch itself warns of, being new or going away."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


def _table(answered: Mapping[str, Any], refused: Mapping[str, Any], *without: str) -> Table:
    """Values that are answered and refused, and those that mean nothing but for some."""
    table = {name: (value, True) for name, value in answered.items()}
    table |= {name: (value, False) for name, value in refused.items()}
    return table | {name: pair for name, pair in _meaningless().items() if name not in without}


def _inputs() -> Table:
    with torch.inference_mode():
        inference = X.clone()
    with FakeTensorMode():
        fake = torch.randn(2, 3, 8, 8)
    nan, inf = X.clone(), X.clone()
    nan[0, 0, 0, 0], inf[0, 0, 0, 0] = torch.nan, -torch.inf
    answered = {
        "plain": X,
        "one sample": X[:1],
        "requires grad": X.clone().requires_grad_(),
        "from inference mode": inference,
        "transposed": X.transpose(2, 3),
        "channels last": X.to(memory_format=torch.channels_last),
        "expanded": X[:1].expand(2, 3, 8, 8),
        "strided": torch.randn(4, 3, 16, 16)[::2, :, ::2, ::2],
        "flipped": X.flip(-1),
        "a subclass": X.as_subclass(Marked),
        "a parameter": nn.Parameter(X.clone()),
        "a negative view": torch._neg_view(X),
        "an imaginary part": torch.complex(X, -X).conj().imag,
        "from numpy": torch.from_numpy(X.numpy().copy()),
        "zeros": torch.zeros(2, 3, 8, 8),
        "tiny": X * 1e-30,
    }
    refused = {
        "no samples": X[:0],
        "no channels": X[:, :0],
        "no rows": X[:, :, :0],
        "no columns": X[..., :0],
        "a number in a tensor": torch.tensor(1.0),
        "a vector": X.flatten(),
        "a matrix": X[0, 0],
        "a single picture": X[0],
        "a batch of batches": X[None],
        "four channels": torch.randn(2, 4, 8, 8),
        "one pixel": torch.randn(2, 3, 1, 1),
        "another size": torch.randn(2, 3, 9, 12),
        "meta": X.to("meta"),
        "fake": fake,
        "sparse": X.to_sparse(),
        "sparse rows": _odd(X[0, 0].to_sparse_csr),
        "nested": _odd(lambda: torch.nested.nested_tensor([X[0], X[1]])),
        "nested, jagged": _odd(lambda: torch.nested.nested_tensor([X[0, 0], X[1, 0]], layout=torch.jagged)),
        "mkldnn": X.to_mkldnn(),
        "quantised": _odd(lambda: torch.quantize_per_tensor(X, 0.1, 0, torch.qint8)),
        "complex": X.to(torch.complex64),
        "integers": (X * 9).long(),
        "bytes of pixels": (X.abs() * 9).to(torch.uint8),
        "booleans": X > 0,
        "half": X.half(),
        "bfloat16": X.bfloat16(),
        "float8": X.to(torch.float8_e4m3fn),
        "double": X.double(),
        "NaN": nan,
        "infinity": inf,
        "an array": X.numpy(),
        "an array of doubles": X.double().numpy(),
        "nested lists": X.tolist(),
        "a tuple of tensors": (X, X),
        "a list of tensors": [X[0], X[1]],
        "a picture": Image.new("RGB", (8, 8)),
        "a file name": "picture.png",
        "a path": Path("picture.png"),
        "a generator": (x for x in [X]),
        "a number": 3.0,
        "a storage": X.untyped_storage(),
    }
    return _table(answered, refused)


def _targets() -> Table:
    answered: dict[str, Any] = {
        "an index": 1,
        "none": None,
        "int64 of numpy": np.int64(1),
        "uint8 of numpy": np.uint8(1),
        "an array of one number": np.array(1),
        "an array a sample": np.array([1, 2]),
        "a range": range(3),
        "a list": [0, 1],
        "a tuple": (0, 1),
        "a tensor a sample": torch.tensor([0, 1]),
        "a number in a tensor": torch.tensor(1),
        "int32": torch.tensor([0, 1], dtype=torch.int32),
        "uint8": torch.tensor([0, 1], dtype=torch.uint8),
        "uint16": torch.tensor([0, 1], dtype=torch.uint16),
        "a mixed list": [torch.tensor([0, 1]), 1, np.array([2, 2])],
        "many": [0] * 40,
    }
    refused: dict[str, Any] = {
        "below 0": -1,
        "too large": 5,
        "beyond 64 bits": 10**30,
        "far below": -(10**30),
        "true": True,
        "a float": 1.0,
        "NaN": float("nan"),
        "a name": "cat",
        "a number as text": "1",
        "float32 of numpy": np.float32(1),
        "bool of numpy": np.bool_(1),
        "a table of numpy": np.array([[1, 2]]),
        "too many of numpy": np.array([1, 2, 3]),
        "names of numpy": np.array(["a", "b"]),
        "objects of numpy": np.array([1, None]),
        "floats of numpy": np.array([1.0, 2.0]),
        "no range": range(0),
        "a long range": range(10**9),
        "no list": [],
        "a list with -1": [-1],
        "a list with a name": [0, "a"],
        "a nested list": [[0, 1], [1, 2]],
        "too few": torch.tensor([1]),
        "too many": torch.tensor([0, 1, 2]),
        "floats": torch.tensor([0.0, 1.0]),
        "booleans": torch.tensor([True, False]),
        "a table": torch.tensor([[0, 1]]),
        "meta": torch.tensor([0, 1], device="meta"),
        "sparse": torch.tensor([0, 1]).to_sparse(),
        "empty": torch.tensor([], dtype=torch.int64),
        "uint64": torch.tensor([0, 2**63], dtype=torch.uint64),
        "a fraction": fractions.Fraction(1),
        "a decimal": decimal.Decimal(1),
        "a slice": slice(0, 2),
        "an ellipsis": ...,
    }
    return _table(answered, refused, "None")


def _seeds() -> Table:
    out = relprop.trace(NET, X).output
    with FakeTensorMode():
        fake = torch.randn(2, 5)
    answered = {
        "scores": out,
        "two targets": torch.stack([out, -out]),
        "requires grad": out.clone().requires_grad_(),
        "half": out.half(),
        "double": out.double(),
        "a subclass": out.as_subclass(Marked),
        "strided": torch.stack([out, out], -1)[..., 0],
        "integers": out.long(),
        "booleans": out > 0,
    }
    refused = {
        "a number": 1.0,
        "a list": out.tolist(),
        "an array": out.numpy(),
        "one sample": out[:1],
        "six classes": torch.randn(2, 6),
        "flat": out.flatten(),
        "no targets": out[None][:0],
        "targets of targets": out[None, None],
        "NaN": out * torch.nan,
        "infinite": out / 0,
        "complex": out.to(torch.complex64),
        "meta": out.to("meta"),
        "fake": fake,
        "sparse": out.to_sparse(),
        "mkldnn": out.to_mkldnn(),
        "quantised": _odd(lambda: torch.quantize_per_tensor(out, 0.1, 0, torch.qint8)),
        "a word": "one",
        "a number in a tensor": torch.tensor(1.0),
    }
    return _table(answered, refused)


def _places() -> Table:
    other = relprop.trace(nn.Linear(2, 2), torch.ones(1, 2)).graph.output
    answered = {"a module": "0", "its number": 0, "int64": np.int64(0), "a call": "0@0", "text": np.str_("0")}
    refused = {
        "unknown": "zzz",
        "nothing": "",
        "a dot": ".",
        "NUL": "\0",
        "long": "x" * 10000,
        "a call too far": "0@9",
        "no call": "0@x",
        "a node of another graph": other,
        "-1": -1,
        "a fraction": 1.5,
        "true": True,
        "a list": ["0"],
        "a tensor": torch.ones(1),
        "a class": nn.Conv2d,
    }
    return _table(answered, refused)


def _methods() -> Table:
    answered = {
        "a name": "lrp-0",
        "a class": relprop.LRP0,
        "an object": relprop.LRP0(),
        "with settings": "lrp-epsilon:epsilon=1",
        "a list": ["lrp-0", relprop.LRP0],
    }
    refused = {
        "unknown": "zzz",
        "nothing": "",
        "a colon": ":",
        "no value": "lrp-epsilon:epsilon",
        "no setting": "lrp-epsilon:=",
        "an empty value": "lrp-epsilon:epsilon=",
        "no file": "nofile.py:X",
        "no name in a file": "nofile.py",
        "a number": 3,
        "no list": [],
        "a list in a list": [["lrp-0"]],
        "a list with a number": ["lrp-0", 3],
        "a list with an unknown": ["lrp-0", "zzz"],
        "a class that needs settings": relprop.LRP,
        "a type": int,
        "a composite": relprop.Composite(),
        "NUL": "lrp-0\0",
        "long": "x" * 100_000,
        "a tensor": X,
        "brackets": "lrp-epsilon:epsilon=" + "(" * 500,
        "many brackets": "lrp-epsilon:epsilon=" + "(" * 10**5 + ")" * 10**5,
        "code": "lrp-epsilon:epsilon=__import__('os')",
        "infinite": "lrp-epsilon:epsilon=1e999",
        "digits": "lrp-epsilon:epsilon=" + "9" * 5000,
        "capitals": "LRP-0",
    }
    # Functions may be methods of the user's own.
    return _table(answered, refused, "a function", "a module")


def _models() -> Table:
    def mean(x: Tensor) -> Tensor:
        return x.mean((2, 3))

    answered = {
        "a net": NET,
        "a mean": Returns(mean),
        "data parallel": nn.DataParallel(nn.Flatten()),
        "returns a list": Returns(lambda x: [mean(x), mean(x)]),
        "returns a dict": Returns(lambda x: {"a": mean(x)}),
        "one a sample": Returns(lambda x: x.sum((1, 2, 3))),
    }
    lazy = _odd(lambda: nn.LazyLinear(3))
    refused: dict[str, Any] = {
        "a class": nn.Linear,
        "training": nn.Sequential(nn.Flatten(), nn.Dropout()).train(),
        "lazy": lazy,
        "meta": nn.Conv2d(3, 4, 3, device="meta"),
        "half": nn.Conv2d(3, 4, 3).half(),
        "no forward": nn.Module(),
        "two inputs": nn.Bilinear(3, 3, 3),
        "embedding": nn.Embedding(3, 4),
        "another shape": nn.Linear(7, 3),
        "returns None": Returns(lambda x: None),
        "returns a number": Returns(lambda x: 3),
        "returns a dict of two": Returns(lambda x: {"a": mean(x), "b": mean(x)}),
        "one number": Returns(lambda x: x.sum()),
        "integers": Returns(lambda x: mean(x).long()),
        "booleans": Returns(lambda x: mean(x) > 0),
        "complex": Returns(lambda x: mean(x).to(torch.complex64)),
        "NaN": Returns(lambda x: mean(x) * torch.nan),
        "infinity": Returns(lambda x: mean(x) / 0),
        "no classes": Returns(lambda x: mean(x)[:, :0]),
        "sparse": Returns(lambda x: mean(x).to_sparse()),
        "weights": NET.state_dict(),
        "a list of models": [NET],
        "a name": "resnet18",
    }
    return _table(answered, refused, "a module")


def _dense(x: Tensor) -> Tensor:
    return torch.tensor(x.detach().tolist(), dtype=x.dtype)


def _tried(title: str, table: Table, calls: Calls) -> None:
    """Try every value in every call; nothing raw may come out, and the first call answers where it is said so."""
    counts: Counter[str] = Counter()
    wrong = []
    for name, (value, answers) in table.items():
        for number, (what, call) in enumerate(calls.items()):
            try:
                call(value)
            except RelpropError as error:
                text, found = str(error), "refused"
                if "\n" in text or not text.endswith((".", ")", "?")) or not text[:1].isupper():
                    wrong.append(f"{what}({name}): no clear sentence: {text[:200]!r}")
            except Exception as error:
                found = "raw"
                wrong.append(f"{what}({name}): {type(error).__name__}: {str(error)[:200]!r}")
            else:
                found = "answered"
            counts[found] += 1
            if number == 0 and found != "raw" and (found == "answered") != answers:
                wrong.append(f"{what}({name}): {found}")
    told = ", ".join(f"{kind} {counts[kind]}" for kind in ("answered", "refused", "raw"))
    print(f"matrix of {title}: {len(table)} values, {counts.total()} calls: {told}")
    if wrong:
        pytest.fail("\n".join(wrong))


TABLES: dict[str, tuple[Callable[[], Table], Calls]] = {
    "inputs": (
        _inputs,
        {
            "explain": lambda x: relprop.explain(NET, x, 0, "lrp-0"),
            "gradient": lambda x: relprop.explain(NET, x, 0, "gradient"),
            "trace": lambda x: relprop.trace(NET, x),
            "inspect": lambda x: relprop.inspect(NET, x),
            "affine": lambda x: relprop.affine(NET, x, 0),
            "crossing": lambda x: crossing(NET, x, torch.ones(1)),
        },
    ),
    "targets": (
        _targets,
        {
            "explain": lambda t: relprop.explain(NET, X, t, "gradient"),
            "affine": lambda t: relprop.affine(NET, X, t),
            "versus": lambda t: relprop.affine(NET, X, 0, versus=t),
            "distance": lambda t: distance(NET, X, t, samples=1),
        },
    ),
    "seeds": (
        _seeds,
        {
            "propagate": lambda s: relprop.trace(NET, X).propagate(s, "lrp-epsilon"),
            "multiplier": lambda s: relprop.trace(NET, X).run(s, "lrp-epsilon", multiplier=True),
        },
    ),
    "places": (
        _places,
        {
            "value": lambda p: relprop.trace(NET, X).value(p),
            "layers": lambda p: relprop.explain(NET, X, 0, "lrp-0", [p]),
            "one layer": lambda p: relprop.explain(NET, X, 0, "lrp-0", p),
            "stop": lambda p: _run().propagate(_run().output, "lrp-0", stop=p),
            "start": lambda p: _run().propagate(_run().output, "lrp-0", start=p),
            "record": lambda p: _run().run(_run().output, "lrp-0", record=[p]),
            "plan": lambda p: _run().plan("lrp-0", stop=p),
            "affine": lambda p: relprop.affine(NET, X, 0, at=p),
            "grad-cam": lambda p: relprop.explain(NET, X, 0, relprop.GradCAM(at=p)),
            "rsp": lambda p: relprop.explain(NET, X, 0, relprop.RSP(at=p)),
        },
    ),
    "methods": (
        _methods,
        {
            "explain": lambda m: relprop.explain(NET, X, 0, m),
            "inspect": lambda m: relprop.inspect(NET, X, m),
            "propagate": lambda m: _run().propagate(_run().output, m),
        },
    ),
    "models": (
        _models,
        {
            "explain": lambda m: relprop.explain(m, X, method="gradient"),
            "target 0": lambda m: relprop.explain(m, X, 0, "lrp-0"),
            "trace": lambda m: relprop.trace(m, X),
            "inspect": lambda m: relprop.inspect(m, X),
            "affine": lambda m: relprop.affine(m, X, 0),
        },
    ),
}


def _run() -> relprop.Trace:
    return relprop.trace(NET, X)


@pytest.mark.parametrize("title", TABLES)
def test_nothing_raw_comes_out(title: str) -> None:
    table, calls = TABLES[title]
    _tried(title, table(), calls)


def test_the_tables_are_large() -> None:
    sizes = {title: len(table()) for title, (table, _) in TABLES.items()}
    assert sum(sizes.values()) >= 220, sizes
    assert sizes["inputs"] >= 60


@pytest.mark.parametrize("name", [name for name, (_, answers) in _inputs().items() if answers])
def test_an_answer_is_that_of_the_same_numbers_in_a_plain_tensor(name: str) -> None:
    x = _inputs()[name][0]
    found, expected = (
        relprop.explain(NET, x, 0, "lrp-epsilon"),
        relprop.explain(NET, _dense(x), 0, "lrp-epsilon"),
    )
    for value in (found.relevance, found.input, found.outputs):
        assert type(value) is Tensor
        assert not value.requires_grad
        assert not value.is_inference()
    torch.testing.assert_close(found.relevance, expected.relevance)
    assert torch.equal(_dense(found.input), _dense(x))


# Where results go ------------------------------------------------------------------------------


def test_paths_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    e = relprop.explain(NET, X, 0, "lrp-0")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    table: dict[str, tuple[Any, bool]] = {
        name: (value, False)
        for name, value in {
            "a number": 3,
            "true": True,
            "a list": ["a"],
            "a tensor": X,
            "a stream": io.BytesIO(),
            "NUL": "a\0b",
            "a long name": "x" * 300,
            "a long path": "/".join(["x" * 200] * 30),
            "a file": "file",
            "below a file": "file/x",
            "a folder of others": "full",
            "a loop": "loop",
            "below a loop": "loop/x",
            "half a character": "\ud800",
            "nobody's home": "~nobody__/x",
            "this folder": ".",
            "nothing": "",
        }.items()
    }
    calls: Calls = {
        "save": e.save,
        "overwrite": lambda p: e.save(p, overwrite=True),
        "load": relprop.Explanation.load,
    }
    _tried("paths", table | _meaningless(), calls)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "full", "loop"]
    assert relprop.Explanation.load(e.save(Path("fine"))).relevance.equal(e.relevance)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_disk_that_gives_up_leaves_nothing(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    e = relprop.explain(NET, X, 0, "lrp-0")
    written = Path.write_bytes

    def gives_up(path: Path, data: bytes) -> int:
        written(path, data[:10])
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_bytes", gives_up)
    with pytest.raises(InputError, match=f"can be written to but .*out' is none: {os.strerror(code)}"):
        e.save(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path: Path) -> None:
    e = relprop.explain(NET, X, 0, "lrp-0")
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(InputError, match="Permission denied"):
            e.save(tmp_path / "out")
    finally:
        tmp_path.chmod(0o755)
