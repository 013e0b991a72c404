"""Stopping a computation: it ends in the engine, whatever handles errors there, and the next one is as ever."""

from __future__ import annotations

import pytest
import torch

import relprop
from relprop.datasets import demo_image_path
from relprop.models.sources import load_model
from relprop.reports import Conversation
from relprop.watch import Stopped, passing, watched


class _After:
    """Stops after some calls."""

    def __init__(self, calls: int) -> None:
        self.left = calls
        self.said: list[str] = []

    def __call__(self, what: str, done: int, total: int) -> None:
        self.said.append(what)
        self.left -= 1
        if self.left < 0:
            raise Stopped


def test_only_what_runs_inside_is_watched() -> None:
    seen = []
    with watched(lambda *told: seen.append(told)):
        passing("inside", 1, 2)
    passing("outside", 1, 2)
    assert seen == [("inside", 1, 2)]


@pytest.mark.parametrize("method", ["lrp-composite", "integrated-gradients", "rsp"])
def test_a_conversation_goes_on_after_a_stop(method: str) -> None:
    with Conversation("scenes-resnet", demo_image_path()) as talk:
        whole = _After(10**9)
        with watched(whole):
            expected = next(iter(talk.ask(method).numbers.values()))
        calls = len(whole.said)
        assert "going back through the network" in whole.said
        for share in (0.0, 0.3, 0.9):
            watch = _After(int(share * calls))
            with pytest.raises(Stopped), watched(watch):
                talk.ask(method, target=2)
            assert len(watch.said) == int(share * calls) + 1  # nothing went on behind it
        again = next(iter(talk.ask(method).numbers.values()))
    assert torch.allclose(again.relevance, expected.relevance, rtol=1e-4, atol=1e-6)


def test_a_first_forward_run_is_stopped_and_the_model_stays_usable() -> None:
    loaded = load_model("scenes-vgg")
    model, x = loaded.module, loaded.example()
    before = model.training, [p.requires_grad for p in model.parameters()]
    with pytest.raises(Stopped), watched(_After(3)):
        relprop.explain(model, x, 0, "lrp-composite")
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    assert (model.training, [p.requires_grad for p in model.parameters()], hooks) == (*before, 0)
    assert relprop.explain(model, x, 0, "lrp-composite").ledger.closes


def test_values_that_are_computed_again_are_in_order_after_a_stop() -> None:
    loaded = load_model("scenes-resnet")
    with relprop.memory_limit("low"):
        run = relprop.trace(loaded.module, loaded.example())
        rules = [("linear", relprop.rules.Epsilon())]
        whole = _After(10**9)
        with watched(whole):
            expected = run.run(torch.ones_like(run.output), rules).relevance
        assert "running the network" in whole.said  # it computed values again
        for share in (0.3, 0.6):
            with pytest.raises(Stopped), watched(_After(int(share * len(whole.said)))):
                run.run(torch.ones_like(run.output), rules)
        places = [node.index for node in run.values]
        assert places == sorted(places)
        again = run.run(torch.ones_like(run.output), rules).relevance
    assert torch.allclose(again, expected, rtol=1e-4, atol=1e-6)


def test_a_detector_is_stopped_between_masks() -> None:
    from relprop.datasets import Scenes
    from relprop.detectors import load

    detector = load()
    image = Scenes(n=1, seed=2, split="test")[0].image
    first = detector(image)[0]
    watch = _After(20)
    with pytest.raises(Stopped), watched(watch):
        relprop.explain_detection(detector, image, first, method="d-rise")
    assert "hiding places" in watch.said
    assert relprop.explain_detection(detector, image, first).ledger.closes
