"""Another contrastive method for detections, written outside of the package, as a user would write it."""

from __future__ import annotations

import torch
from tests.detectors.nets.torchvision_nets import small

import relprop
from relprop.detectors import wrap
from relprop.detectors.parts import explain_parts
from relprop.methods.method import Method, Request, Result
from relprop.propagate.question import Question
from relprop.rules import MaxPool, ZPlus


class Rather(Method):
    """A class of an anchor against the mean of its other classes: one seed, w+ everywhere."""

    name = "rather"
    summary = "a class against the others"

    def explain(self, request: Request) -> Result:
        layout, target = request.layout, request.targets[..., None]
        classes = target - target % layout.width + torch.arange(layout.classes)  # of the target's anchor
        seed = torch.zeros(len(target), *request.output.shape, dtype=request.output.dtype)
        seed.scatter_(2, classes, -1 / (layout.classes - 1)).scatter_(2, target, 1.0)
        composite = relprop.Composite([("linear", ZPlus()), ("max_pool", MaxPool())], "positive")
        return Result.of(request.propagate(seed, composite))


def test_it_explains_detections_like_the_one_there_is() -> None:
    """Where CRP takes its contrast in the seed too (``balance=False``), both are the same formula."""
    detector = wrap(small("ssd"), score_threshold=0.3)
    picture = torch.rand(3, 50, 70, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    anchor = detector(picture)[0].anchor
    asked = {"of": "class", "target": [1, 3]}
    chosen = [anchor, anchor + 1]
    ours = relprop.explain_detection(detector, picture, chosen, method=Rather(), **asked)
    theirs = relprop.explain_detection(detector, picture, chosen, method=relprop.CRP(balance=False), **asked)
    assert bool(theirs.relevance.any())
    largest = float(theirs.relevance.abs().max())
    torch.testing.assert_close(ours.relevance, theirs.relevance, rtol=0, atol=1e-12 * largest)
    assert ours.method == "rather"
    whole = explain_parts(detector, picture, detector(picture)[0], method=Rather())
    assert whole.explanation.method == "rather"


def test_a_model_that_says_nothing_of_its_outputs_has_classes() -> None:
    net = torch.nn.Linear(2, 3).eval()
    run = relprop.trace(net, torch.ones(1, 2))
    layout = Request(net, run, Question(torch.zeros(1, 1, dtype=torch.int64), True)).layout
    assert (layout.classes, layout.offsets, layout.anchors, layout.width) == (3, (), 1, 3)
