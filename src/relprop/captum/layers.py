"""Attribution at a layer, and what is made of it."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from relprop.captum.attribution import Attribution, Inputs, checked_module, no_more_arguments, rows_of
from relprop.captum.targets import CaptumTarget, as_asked
from relprop.errors import InputError
from relprop.explanation.explain import explain
from relprop.methods.activation_map import ActivationMap
from relprop.methods.registry import MethodLike, resolve

__all__ = ["GuidedGradCam", "LayerAttribution", "LayerGradCam"]


class LayerAttribution:
    """A method's relevance at a layer's output: `LayerAttribution(model, model.layer4, "lrp-composite")`.

    Args:
        model: as for `Attribution`.
        layer: a module of the model, or the name of a module or node.
        method: as for `relprop.explain`; "recommended" is lrp-composite here.

    Raises:
        InputError: something else than a module, or a layer that isn't in the model.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(1, 2, bias=False), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> net[0].weight.data, net[2].weight.data = torch.tensor([[1.0], [-1.0]]), torch.tensor([[2.0, 5.0]])
    >>> LayerAttribution(net, net[1], "lrp-0").attribute(torch.tensor([[3.0]]), target=0).tolist()
    [[6.0, 0.0]]
    """

    def __init__(self, model: nn.Module, layer: nn.Module | str, method: MethodLike = "recommended") -> None:
        self.model = self.forward_func = checked_module(model)
        self.layer, self.method = layer, resolve(method)
        self._name = _name_in(model, layer)

    def attribute(
        self,
        inputs: Inputs,
        target: CaptumTarget = None,
        additional_forward_args: None = None,
        *,
        attribute_to_layer_input: bool = False,
    ) -> Tensor:
        """Relevance of the layer's output, shaped like it; of activation maps (N, 1, *spatial).

        Args:
            inputs, target, additional_forward_args: as for `Attribution.attribute`.
            attribute_to_layer_input: must be False: name the layer in front.

        Raises:
            InputError: as `Attribution.attribute`; a method without relevance at layers.
            CaptureError, UnsupportedOperatorError: as `relprop.explain`.
        """
        return self._at(self.method, inputs, target, additional_forward_args, attribute_to_layer_input)

    @staticmethod
    def interpolate(
        layer_attribution: Tensor, interpolate_dims: int | tuple[int, ...], interpolate_mode: str = "nearest"
    ) -> Tensor:
        """The map resized to `interpolate_dims` by `torch.nn.functional.interpolate`, to be looked at.

        Args:
            layer_attribution: (N, C, *spatial).
            interpolate_dims: the new spatial size.
            interpolate_mode: "nearest", "bilinear" and the like.
        """
        return F.interpolate(layer_attribution, interpolate_dims, mode=interpolate_mode)

    def _at(
        self, method: MethodLike, inputs: Any, target: CaptumTarget, arguments: object, to_input: bool
    ) -> Tensor:
        no_more_arguments(arguments)
        if to_input:
            raise InputError(
                "Expected attribute_to_layer_input=False, as relprop gives relevance at outputs. Name the layer "
                "whose output it is; relprop.inspect(model, x) lists all places."
            )
        asked = as_asked(target, rows_of(inputs))
        alone = inputs[0] if isinstance(inputs, tuple) and len(inputs) == 1 else inputs
        found: Any = explain(self.model, alone, asked, method, layers=[self._name])
        one = found[0] if isinstance(found, tuple) else found
        layers: dict[str, Tensor] = one.layers
        return layers[self._name]


class LayerGradCam(LayerAttribution):
    """Grad-CAM at a layer, with both signs unless asked otherwise, as captum's.

    Args:
        model: as for `Attribution`.
        layer: a module of the model whose output is (N, C, *spatial), or its name.
    """

    def __init__(self, model: nn.Module, layer: nn.Module | str) -> None:
        super().__init__(model, layer, "grad-cam")

    def attribute(
        self,
        inputs: Inputs,
        target: CaptumTarget = None,
        additional_forward_args: None = None,
        attribute_to_layer_input: bool = False,
        relu_attributions: bool = False,
        attr_dim_summation: bool = True,
    ) -> Tensor:
        """The map (N, 1, *spatial) of the layer's positions; not resized.

        Args:
            inputs, target, additional_forward_args: as for `Attribution.attribute`.
            attribute_to_layer_input: must be False.
            relu_attributions: keep the positive part alone, as the paper does.
            attr_dim_summation: sum over channels; False gives (N, C, *spatial).

        Raises:
            InputError: as `LayerAttribution.attribute`.
        """
        method = _ChannelGradCam(self._name, relu=relu_attributions, summed=attr_dim_summation)
        return self._at(method, inputs, target, additional_forward_args, attribute_to_layer_input)


class GuidedGradCam(Attribution):
    """Guided backprop × Grad-CAM, resized to the input.

    Args:
        model: as for `Attribution`.
        layer: as for `LayerGradCam`.
    """

    def __init__(self, model: nn.Module, layer: nn.Module | str) -> None:
        super().__init__(model, "guided-backprop")
        self.grad_cam = LayerGradCam(model, layer)

    def attribute(  # type: ignore[override]
        self,
        inputs: Inputs,
        target: CaptumTarget = None,
        additional_forward_args: None = None,
        interpolate_mode: str = "nearest",
        attribute_to_layer_input: bool = False,
    ) -> Inputs:
        """The product, shaped like the inputs.

        Args:
            inputs, target, additional_forward_args: as for `Attribution.attribute`; one input.
            interpolate_mode: how the map is resized.
            attribute_to_layer_input: must be False.

        Raises:
            InputError: as `LayerAttribution.attribute`; several inputs.
        """
        if isinstance(inputs, tuple) and len(inputs) != 1:
            raise InputError(f"Expected one input for GuidedGradCam but got {len(inputs)}.")
        x = inputs[0] if isinstance(inputs, tuple) else inputs
        cam = self.grad_cam.attribute(
            x, target, additional_forward_args, attribute_to_layer_input, relu_attributions=True
        )
        size = tuple(x.shape[2:])
        product = super().attribute(x, target) * LayerAttribution.interpolate(cam, size, interpolate_mode)
        return (product,) if isinstance(inputs, tuple) else product


class _ChannelGradCam(ActivationMap):
    """Grad-CAM as captum has it by default: not cut off at 0, and the channels apart if asked."""

    name = "grad-cam"
    signed = True

    def __init__(self, at: str, *, relu: bool, summed: bool) -> None:
        super().__init__(at=at)
        self.relu, self.summed = relu, summed

    def weighed(self, gradient: Tensor, value: Tensor) -> Tensor:
        means = gradient.flatten(3).mean(-1)
        whole = means.reshape(*means.shape, *[1] * (value.ndim - 2)) * value
        whole = whole.sum(2, keepdim=True) if self.summed else whole
        return whole.clamp(min=0) if self.relu else whole


def _name_in(model: nn.Module, layer: nn.Module | str) -> str:
    if not isinstance(layer, nn.Module):
        return layer
    for name, module in model.named_modules():
        if module is layer and name:
            return name
    raise InputError(
        f"Expected layer to be a module inside {type(model).__name__} but this {type(layer).__name__} isn't. Take "
        "it from the model itself, such as model.layer4, or name it."
    )
