"""Explaining from several threads: each gets what it would get alone, and the process is as before."""

from __future__ import annotations

import io
import locale
import logging
import os
import random
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding, terms_of
from tests.detectors.nets import tiny_detector
from torch import Tensor, nn

import relprop
from relprop.detectors import DetectionUnit, Layout
from relprop.errors import CaptureError, InputError
from relprop.graph import WeightCache
from relprop.metrics.ranking import scores_of
from relprop.own_file import seeded
from relprop.piecewise.region import crossing
from relprop.quiet import no_log, no_prints, no_warnings

capturing = import_module("relprop.graph.exporting")


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    ).eval()


def pictures() -> list[Tensor]:
    g = torch.Generator().manual_seed(1)
    return [torch.randn(1, 3, 8 + i, 8, generator=g) for i in range(4)]


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each call returns, all started together, each in a thread of its own."""
    found: list[Any] = [None] * len(calls)
    raised: list[BaseException] = []
    ready = threading.Barrier(len(calls))

    def run(i: int, call: Callable[[], Any]) -> None:
        try:
            ready.wait(60)
            found[i] = call()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if raised:
        raise raised[0]
    return found


def state(model: nn.Module) -> list[Any]:
    """What the process and the model must have kept."""
    return [
        sys.stderr,
        sys.stdout,
        sys.excepthook,
        sys.unraisablehook,
        threading.excepthook,
        list(sys.path),
        dict(os.environ),
        Path.cwd(),
        locale.setlocale(locale.LC_ALL),
        torch.get_rng_state().tolist(),
        random.getstate(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        [torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark],
        list(warnings.filters),
        logging.root.manager.disable,
        [logging.getLogger(name).level for name in capturing._LOGGERS],
        [list(logging.getLogger(name).filters) for name in capturing._LOGGERS],
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_dtype(),
        torch.compiler.is_exporting(),
        nn.Module.__call__,
        nn.Module.__getattr__,
        [(name, id(value)) for m in model.modules() for name, value in vars(m).items() if name[0] != "_"],
        [(name, id(value)) for name, value in model.state_dict(keep_vars=True).items()],
    ]


@pytest.mark.parametrize("shared", [True, False], ids=["one model", "a model each"])
def test_new_sizes(shared: bool) -> None:
    method = "lrp-alpha-beta"
    expected = [relprop.explain(net(), x, 0, method).relevance for x in pictures()]
    one = net()
    models = [one if shared else net() for _ in expected]
    before = state(models[0])
    found = at_once(*(
        lambda m=m, x=x: [relprop.explain(m, x, 0, method) for _ in range(3)]  # type: ignore[misc]
        for m, x in zip(models, pictures(), strict=True)
    ))  # fmt: skip
    for runs, relevance in zip(found, expected, strict=True):
        assert all(e.ledger.closes for e in runs)
        for e in runs:
            assert_close_to_rounding(e.relevance, relevance, one)
    assert state(models[0]) == before


def test_eight_threads_with_a_size_each_of_a_classifier_and_a_detector() -> None:
    g = torch.Generator().manual_seed(2)
    sides = [(16 + 8 * (i // 4), 16 + 8 * (i % 4)) for i in range(8)]
    inputs = [torch.rand(1, 3, *side, generator=g) for side in sides]

    def go(model: nn.Module, unit: DetectionUnit, i: int) -> list[Tensor]:
        runs = []
        for again in range(2):
            runs.append(relprop.explain(model, inputs[i], i % 3, "lrp-alpha-beta"))
            # Each thread looks at an anchor of its own.
            runs.append(relprop.explain(unit.at(i), inputs[i], 1 + again, "crp"))
        assert all(e.ledger is not None and e.ledger.closes for e in runs)
        return [e.relevance for e in runs]

    def models() -> tuple[nn.Module, DetectionUnit]:
        return net(), DetectionUnit(tiny_detector.raw(), Layout(4, background=0))

    alone = [go(*models(), i) for i in range(8)]
    model, unit = models()
    before = state(model), state(unit)
    found = at_once(*(lambda i=i: go(model, unit, i) for i in range(8)))  # type: ignore[misc]
    assert (state(model), state(unit)) == before
    terms = terms_of(model) + terms_of(unit)
    for runs, right in zip(found, alone, strict=True):
        # PyTorch switches oneDNN off for the process while it captures: the last digits may differ.
        for relevance, expected in zip(runs, right, strict=True):
            assert_close_to_rounding(relevance, expected, terms)
            assert bool(relevance.any())


def test_seeded_blocks_take_turns() -> None:
    """Two that save and restore the process's generator in turns would leave the other's state behind."""
    before = torch.get_rng_state()

    def go() -> list[Tensor]:
        drawn = []
        for seed in range(20):
            with seeded(seed % 4):
                threading.Event().wait(0.001)  # it's another thread's turn
                drawn.append(torch.rand(3))
        return drawn

    expected, *others = go(), *at_once(*[go] * 8)
    assert all(torch.equal(*pair) for runs in others for pair in zip(runs, expected, strict=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_torchvision_is_whole_for_every_thread() -> None:
    """In a process where nobody has imported it yet."""
    source = """
        import threading
        from relprop.compat import load_torchvision
        found = []
        def go():
            found.append(load_torchvision().models.resnet18)
        threads = [threading.Thread(target=go) for _ in range(8)]
        [t.start() for t in threads], [t.join() for t in threads]
        print(len(found))
    """
    run = subprocess.run([sys.executable, "-c", dedent(source)], capture_output=True, text=True, check=False)
    assert (run.stdout.strip(), run.stderr) == ("8", "")


def test_the_model_runs_while_another_size_is_captured() -> None:
    """`scores_of` and `Detector` run the live model, whose parameters are symbolic while it is captured."""
    model, (x, *others) = net(), pictures()
    expected = scores_of(model, x)
    *_, scores = at_once(
        *(lambda y=y: relprop.explain(model, y, 0) for y in others),  # type: ignore[misc]
        lambda: [scores_of(model, x) for _ in range(200)],
    )
    assert all(torch.equal(s, expected) for s in scores)


def test_forward_hooks_stay() -> None:
    model, seen = net(), []
    model[0].register_forward_hook(lambda *_: seen.append(threading.get_ident()))
    before = state(model)
    at_once(*(lambda x=x: relprop.explain(model, x, 0) for x in pictures()))  # type: ignore[misc]
    assert state(model) == before
    assert len(model[0]._forward_hooks) == 1
    count = len(seen)
    with torch.no_grad():
        model(pictures()[0])
    assert len(seen) == count + 1


def test_two_detections_of_one_detector() -> None:
    detector = tiny_detector.detector()
    picture = torch.rand(3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def go(anchor: int) -> list[Tensor]:
        return [relprop.explain_detection(detector, picture, anchor).relevance for _ in range(20)]

    anchors = (5, 17)
    alone = [relprop.explain_detection(tiny_detector.detector(), picture, a).relevance for a in anchors]
    assert not torch.equal(*alone)
    for runs, expected in zip(at_once(lambda: go(5), lambda: go(17)), alone, strict=True):
        assert len(runs) == 20
        assert all(torch.equal(r, expected) for r in runs)


def test_detecting_while_explaining() -> None:
    picture = torch.rand(3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = tiny_detector.detector()(picture)
    detector = tiny_detector.detector()
    found, _, _ = at_once(
        lambda: [detector(picture) for _ in range(50)],
        lambda: relprop.explain_detection(detector, picture, 5),
        lambda: relprop.explain_detection(detector, picture, [5, 17]),
    )
    assert all(torch.equal(f.boxes, expected.boxes) for f in found)
    assert all(torch.equal(f.reading.scores, expected.reading.scores) for f in found)


def test_regions_wait_for_each_other() -> None:
    """The process has one level of forward-mode derivatives."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).double().eval()
    x, direction = torch.randn(2, 2, 4, dtype=torch.float64)

    def go() -> list[Tensor]:
        return [crossing(model, x, direction).step for _ in range(20)]

    expected, *others = go()[0], *at_once(go, go, go)
    assert all(torch.equal(found, expected) for runs in others for found in runs)


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


@contextmanager
def user_at_work() -> Iterator[dict[str, Any]]:
    """Another thread that goes into and out of its own `catch_warnings` and `redirect_stderr`, over and over."""
    stop, did = threading.Event(), {"rounds": 0, "seen": 0}

    def work() -> None:
        while not stop.is_set():
            with warnings.catch_warnings(record=True) as caught, redirect_stderr(io.StringIO()):
                warnings.simplefilter("always")
                warnings.warn("mine", UserWarning, stacklevel=1)
                stop.wait(0.001)
            did["rounds"] += 1
            did["seen"] += sum(str(w.message) == "mine" for w in caught)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield did
    finally:
        stop.set()
        thread.join(60)


def test_a_thread_with_its_own_warnings_and_stderr() -> None:
    before = state(net())[:-2]
    with user_at_work() as did:
        for seed in range(3):
            relprop.explain(net(seed), pictures()[0], 0)
            with pytest.raises(CaptureError):
                relprop.explain(Branches().eval(), pictures()[0])
    assert state(net())[:-2] == before
    assert did["rounds"] > 0
    assert did["seen"] == did["rounds"]


def test_a_filter_that_was_copied_meanwhile_is_over() -> None:
    """Another thread goes into `catch_warnings` twice, and comes out of it once, while its copies hold ours."""
    inside, leave, done, out = (threading.Event() for _ in range(4))

    def user() -> None:
        with warnings.catch_warnings():
            with warnings.catch_warnings():
                inside.set()
                leave.wait(60)
            done.set()
            out.wait(60)

    thread = threading.Thread(target=user)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        with no_warnings():
            thread.start()
            inside.wait(60)
        leave.set()
        done.wait(60)
        warnings.warn("mine", UserWarning, stacklevel=1)
        out.set()
        thread.join(60)
        assert warnings.filters == before
    assert [str(w.message) for w in caught] == ["mine"]


def test_many_threads_come_and_go() -> None:
    before = list(warnings.filters)

    def go() -> None:
        for _ in range(300):
            with no_warnings():
                warnings.warn("not seen", UserWarning, stacklevel=1)

    at_once(*[go] * 8)
    assert warnings.filters == before


def test_precisions_of_backends_stay() -> None:
    """cuDNN's convolutions may have a precision of their own: torch.export alone refuses every model then."""
    conv, rnn = torch.backends.cudnn.conv, torch.backends.cudnn.rnn
    before, x = conv.fp32_precision, pictures()[0]
    expected = relprop.explain(net(), x, 0).relevance
    conv.fp32_precision = "ieee"
    try:
        said = conv.fp32_precision, rnn.fp32_precision
        assert said[0] != said[1]
        assert_close_to_rounding(relprop.explain(net(), x, 0).relevance, expected, net())
        assert (conv.fp32_precision, rnn.fp32_precision) == said
    finally:
        conv.fp32_precision = before
    torch.backends.mkldnn.enabled = False  # type: ignore[attr-defined]
    try:
        relprop.explain(net(), x, 0)
        assert not torch.backends.mkldnn.enabled  # type: ignore[attr-defined]
    finally:
        torch.backends.mkldnn.enabled = True  # type: ignore[attr-defined]


def test_a_model_that_cannot_be_captured_prints_nothing(
    capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    with pytest.raises(CaptureError, match="control flow depends on the values"):
        relprop.explain(Branches().eval(), pictures()[0])
    with pytest.raises(InputError, match="itself fails"):  # of another size than the flat layer takes
        relprop.explain(nn.Sequential(nn.Flatten(), nn.Linear(9, 2)).eval(), pictures()[0])
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_quiet_is_for_one_thread(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("relprop.tests.quiet")
    heard: list[str] = []
    logger.addHandler(handler := logging.Handler())
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    source = "def say(text): print(text)"
    module = sys.modules["tests_quiet"] = type(sys)("tests_quiet")
    exec(source, vars(module))

    def speak(name: str) -> None:
        warnings.warn(name, UserWarning, stacklevel=1)
        logger.warning(name)
        module.say(name)

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with no_warnings(), no_log([logger.name]), no_prints(["tests_quiet"]):
                speak("here")
                at_once(lambda: speak("there"))
            speak("after")
    finally:
        del sys.modules["tests_quiet"]
        logger.removeHandler(handler)
    assert [str(w.message) for w in caught] == ["there", "after"]
    assert heard == ["there", "after"]
    assert capsys.readouterr().out.split() == ["there", "after"]
    assert "print" not in vars(module)
    with no_warnings(DeprecationWarning):
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        with pytest.warns(UserWarning, match="other"):
            warnings.warn("other", UserWarning, stacklevel=1)


def test_weights_are_kept_up_to_the_limit_from_many_threads() -> None:
    cache = WeightCache()

    def go() -> None:
        for i in range(500):
            cache.keep(i % 40, i, 7, 100)
            cache.get((i + 3) % 40)

    at_once(go, go, go, go)
    held = [key for key in range(40) if cache.get(key) is not None]
    assert len(held) == 14  # 14 of 7 bytes
    assert all(cache.get(key) % 40 == key for key in held)


class Doubled(tiny_detector.Raw):
    """The same parameters, other outputs."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(2 * part for part in super().forward(x))


def test_a_view_of_another_network_has_another_graph() -> None:
    unit, x = DetectionUnit(tiny_detector.raw(), Layout(4, background=0)), torch.rand(1, 3, 16, 16)
    one, two = unit.at(5), unit.at(5)
    assert relprop.trace(one, x).graph is relprop.trace(two, x).graph
    two.raw = Doubled().eval()
    with torch.no_grad():
        torch.testing.assert_close(relprop.trace(two, x).output, two(x))
        torch.testing.assert_close(relprop.trace(one, x).output, one(x))
