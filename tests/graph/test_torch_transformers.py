"""torch's own transformers with their masks: right values, and who is told to call eval()."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.close import assert_close_to_rounding
from tests.refusals import assert_refused
from tests.rules.build import Fn
from torch import Tensor, nn

import relprop
from relprop.errors import InputError

pytestmark = [
    pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning"),
    pytest.mark.filterwarnings("ignore:Support for mismatched"),
]

X = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
CAUSAL = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
BAND = torch.zeros(5, 5, dtype=torch.float64)
BAND[0, 3:] = BAND[3, :2] = -torch.inf
NO_KEY = BAND.clone()
NO_KEY[2] = -torch.inf


def late(x: Tensor) -> Tensor:
    """Padding that each sample has of its own."""
    return x.sum(2) > 3


MASKS: dict[str, dict[str, Any]] = {
    "causal": {"mask": CAUSAL},
    "causal, true or false": {"mask": CAUSAL < 0},
    "causal, said to be": {"mask": CAUSAL, "is_causal": True},
    "some other": {"mask": BAND},
    "a row without keys": {"mask": NO_KEY},
    "padding": {"src_key_padding_mask": late},
    "causal and padding": {"mask": CAUSAL, "src_key_padding_mask": late},
    "both true or false": {"mask": CAUSAL < 0, "src_key_padding_mask": late},
}


def layer(norm_first: bool = False) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1, norm_first=norm_first)


def encoder() -> nn.TransformerEncoder:
    torch.manual_seed(0)
    return nn.TransformerEncoder(layer(), 2, enable_nested_tensor=False).double().eval()


def through_encoder(net: nn.TransformerEncoder, x: Tensor, **given: Any) -> Tensor:
    out: Tensor = net(x, **given)
    return out


def by_its_layers(
    net: nn.TransformerEncoder, x: Tensor, mask: Tensor | None = None, is_causal: bool = False, **given: Any
) -> Tensor:
    for each in net.layers:
        x = each(x, src_mask=mask, **given)
    return x


def scored(run: Callable[..., Tensor], given: dict[str, Any]) -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        return run(m.net, x, **{k: v(x) if callable(v) else v for k, v in given.items()}).mean(1)

    return Fn(forward, net=encoder()).eval()


@pytest.mark.parametrize("name", MASKS)
def test_an_encoder_and_its_layers_agree(name: str) -> None:
    given = MASKS[name]
    model, other = scored(through_encoder, given), scored(by_its_layers, given)
    for method in ("gradient-x-input", "lrp-epsilon", "attnlrp"):
        found, expected = (relprop.explain(m, X, 1, method) for m in (model, other))
        assert found.ledger is None or found.ledger.closes
        assert_close_to_rounding(found.relevance, expected.relevance, 100 * 5 * 8)
    leaf = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)
    found = relprop.explain(model, X, 1, "gradient-x-input")
    assert_close_to_rounding(found.relevance, X * gradient, 100 * 5 * 8)
    assert_close_to_rounding(found.outputs, model(X).detach(), 100 * 5 * 8)


@pytest.mark.parametrize("masks", [{"tgt_mask": CAUSAL}, {"src_mask": BAND, "tgt_mask": CAUSAL}])
def test_decoders_too(masks: dict[str, Tensor]) -> None:
    torch.manual_seed(0)
    net = nn.Transformer(8, 2, 1, 2, 16, batch_first=True).double().eval()
    model = Fn(lambda m, x: m.net(x, x.flip(1), **masks).mean(1), net=net)
    found = relprop.explain(model, X, 1, "lrp-epsilon")
    assert found.ledger is not None
    assert found.ledger.closes
    assert_close_to_rounding(found.outputs, model(X).detach(), 100 * 5 * 8)


def test_torch_looks_at_masks_again_afterwards() -> None:
    from torch.nn.modules import transformer

    relprop.explain(scored(through_encoder, MASKS["causal"]), X, 1, "lrp-epsilon")
    assert transformer._detect_is_causal_mask(CAUSAL)
    assert not transformer._detect_is_causal_mask(BAND)


def test_a_row_without_keys_has_no_weights() -> None:
    """As `scaled_dot_product_attention` says: 0, and not 0 / 0; its relevance comes from the others alone."""
    keep = NO_KEY == 0

    def attend(m: Any, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x, attn_mask=keep).sum(1)

    found = relprop.explain(Fn(attend), X, 1, "lrp-0")
    weights = torch.zeros(2, 5, 5, dtype=torch.float64)
    rows = [0, 1, 3, 4]
    scores = (X @ X.mT / 8**0.5).masked_fill(~keep, -torch.inf)
    weights[:, rows] = scores[:, rows].softmax(-1)
    seed = torch.zeros_like(X)
    seed[:, :, 1] = 1
    assert_close_to_rounding(found.relevance, X * (weights.mT @ seed), 40)


def trains(path: str) -> Callable[[], object]:
    model = Fn(lambda m, x: m.net(x).mean(1), net=encoder())
    model.get_submodule(path).train()
    return lambda: relprop.explain(model, X, 1, "lrp-epsilon")


def test_parts_in_training_mode_are_named() -> None:
    by_hand = Fn(lambda m, x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.1).mean(1)).eval()
    assert_refused(
        InputError,
        (trains("net"), r"in net.layers.0.self_attn runs in training mode. Call model.eval\(\) first"),
        (trains("net.layers.1.self_attn"), r"attention' in net.layers.1.self_attn runs in training mode"),
        (trains("net.layers.1.dropout2"), r"'dropout' in net.layers.1.dropout2 runs in training mode"),
        (
            lambda: relprop.explain(by_hand, X, 1, "lrp-epsilon"),
            r"in the model itself runs in training mode.*write dropout_p=self.p if self.training else 0.0",
        ),
    )


def test_a_view_of_what_attention_returns() -> None:
    """Torch's kernel lays its result out so that a permuted one is contiguous; ours need not be."""

    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(8, 24)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).view(x.shape[0], 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
            y = nn.functional.scaled_dot_product_attention(q, k, v).permute(0, 2, 1, 3).contiguous()
            scores: Tensor = y.view(*y.size()[:-2], 8).mean(1)
            return scores

    torch.manual_seed(0)
    net, x = Attends().eval(), torch.randn(1, 5, 8)
    found = relprop.explain(net, x, target=0, method="gradient")
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(net(leaf)[:, 0].sum(), leaf)
    assert_close_to_rounding(found.relevance, expected, net)
