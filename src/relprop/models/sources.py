"""Models by specification: a name of ours, `c3d`, `torchvision:NAME`, `timm:NAME` or `file.py:factory`."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor, nn

from relprop.catalogue import CLIP_MODELS, MODEL_SOURCES, MODEL_SPECS, MODELS, PACKAGED_MODELS
from relprop.checks import check_known
from relprop.compat import load_timm, load_torchvision
from relprop.errors import InputError, RelpropError, UnknownNameError
from relprop.files import LABELS, brief, read_text
from relprop.methods.facts import remember
from relprop.models.loaded import LoadedModel
from relprop.models.packaged import imagenet_classes, packaged_origin, packaged_state
from relprop.models.pictures import Preprocess
from relprop.models.state import load_state, read_state
from relprop.own_file import blame, from_file, importable, seeded
from relprop.quiet import no_log

if TYPE_CHECKING:
    from relprop.models.sampling import Sampling

__all__ = [
    "device_named",
    "factory_of",
    "load_model",
    "no_published",
    "read_labels",
    "source_names",
]

_MOST = 2**27  # pixels of an input: more would fill the memory


@dataclass(frozen=True)
class _Recipe:
    """What a source knows about a model before weights and options are applied."""

    build: Callable[[int | None], nn.Module]  # takes the number of classes; None: the model's own
    resizable: bool = False  # whether build heeds that number
    fitted: Callable[[dict[str, Tensor]], nn.Module] | None = None  # builds what a state dict is of
    size: tuple[int, ...] = (224, 224)
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    resize: int | None = None
    interpolation: str = "bilinear"
    classes: list[str] | None = None
    multi_label: bool = False
    preprocess: Callable[[Image.Image], Tensor] | None = None
    weights: str = "its own"
    sampling: Sampling | None = None
    unlike: Callable[[Tensor], str] | None = None


def load_model(
    spec: str,
    *,
    weights: str | Path | None = None,
    labels: str | Path | None = None,
    size: Sequence[int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    multi_label: bool | None = None,
    random_weights: bool = False,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> LoadedModel:
    """Load the model that a specification names.

    Args:
        spec: a bundled name; ``efficientnet-lite0`` (its weights are a package: ``relprop[photo]``); ``c3d`` (the
            published layout; `weights` say its width); ``torchvision:NAME``, ``timm:NAME``; or
            ``file.py:factory`` (a function or class without arguments that returns the module, or the module
            itself). The file is run as it is.
        weights: a state dict, ``.safetensors`` or ``.pth`` (read with ``weights_only=True``).
        labels: a text file with a class name a line, or a JSON list.
        size: (H, W), or (T, H, W) for clips, instead of the source's.
        mean: instead of the source's; pictures are in 0-1 before. One number a channel.
        std: likewise.
        multi_label: whether several classes may hold at once, instead of the source's.
        random_weights: don't look for published weights; seeded random ones, for trying things out.
        device: where to put it.
        progress: whether a download may show a bar.

    Raises:
        InputError: the specification, a file or an option can't be used.
        RelpropError: the model's own code raised.
    """
    target = device_named(device)
    if weights is not None and random_weights:
        raise InputError("Expected weights from a file or random ones but got both. Leave one out.")
    recipe = _recipe(spec, weights is None and not random_weights, progress, size)
    origin = recipe.weights
    if weights is not None and recipe.fitted is not None:
        module = recipe.fitted(read_state(weights))
        origin = str(weights)
    else:
        module = _build(recipe, spec, None)
    if weights is not None and recipe.fitted is None:
        rebuild = (lambda classes: _build(recipe, spec, classes)) if recipe.resizable else None
        module = load_state(module, read_state(weights), str(weights), rebuild)
        origin = str(weights)
    elif random_weights and recipe.weights != "bundled":
        origin = "random (seed 0)"
    mean_, std_ = _statistics(recipe, mean, std)
    size_ = recipe.size if size is None else _size(size)
    preprocess = recipe.preprocess
    if preprocess is None or size is not None or mean is not None or std is not None:
        resize = recipe.resize if size is None else None
        preprocess = Preprocess(size_[-2:], mean_, std_, resize, recipe.interpolation)
    loaded = LoadedModel(
        spec=spec,
        module=module.eval().to(target),
        input_size=size_,
        mean=mean_,
        std=std_,
        classes=recipe.classes if labels is None else read_labels(labels),
        multi_label=recipe.multi_label if multi_label is None else multi_label,
        preprocess=preprocess,
        weights=origin,
        sampling=recipe.sampling,
        unlike=recipe.unlike if weights is None else None,
    )
    remember(loaded.module, loaded.facts)
    return loaded


def source_names(source: str) -> list[str]:
    """The names behind ``torchvision:`` (classification and video) or ``timm:``, sorted.

    Raises:
        InputError: another source, or the library is not installed.
    """
    check_known("source of models", source, MODEL_SOURCES)
    if source == "torchvision":
        models = load_torchvision().models
        return sorted(n for part in (models, models.video) for n in models.list_models(module=part))
    return list(load_timm().list_models())


def read_labels(path: str | Path) -> list[str]:
    """Class names from a text file, one a line, or from a JSON list (or dict of index → name).

    Raises:
        InputError: no such file, or not such a file.
    """
    what = LABELS
    text = read_text(path, what)
    if Path(path).suffix != ".json":
        found = [line.strip() for line in text.splitlines() if line.strip()]
        if found:
            return found
        raise InputError(f"Expected {what} but '{path}' is empty.")
    try:
        loaded = json.loads(text)
        if isinstance(loaded, dict):
            loaded = [loaded[str(i)] for i in range(len(loaded))]
        if isinstance(loaded, list) and loaded and all(isinstance(name, str) for name in loaded):
            return loaded
        problem = "it holds something else"
    except KeyError as error:
        problem = f"index {error} is missing"
    except RecursionError:
        problem = "it is nested too deeply"
    except ValueError as error:
        problem = " ".join(str(error).split())
    raise InputError(f"Expected {what} but '{path}' can't be used: {problem}.")


def _build(recipe: _Recipe, spec: str, classes: int | None) -> nn.Module:
    with seeded():
        module = recipe.build(classes)
    if not isinstance(module, nn.Module):
        got = "None" if module is None else type(module).__name__
        raise InputError(f"Expected '{spec}' to give a torch.nn.Module but got {got}.")
    return module


def _recipe(spec: str, published: bool, progress: bool, size: Sequence[int] | None) -> _Recipe:
    kind, colon, name = spec.rpartition(":")
    if spec in MODELS:
        return _from_bundled(spec)
    if spec in CLIP_MODELS:
        return _from_bundled_clips(spec)
    if spec in PACKAGED_MODELS:
        return _from_package(spec, published)
    if spec == "c3d":
        return _from_c3d(published, size)
    if kind == "torchvision":
        return _from_torchvision(name, published, progress)
    if kind == "timm":
        return _from_timm(name, published)
    if colon and kind.endswith(".py"):
        return _from_file(Path(kind), name)
    raise MODEL_SPECS.unknown(spec)


def _from_bundled(name: str) -> _Recipe:
    from relprop import models as bundled

    model = bundled.load(name)
    side = model.input_size
    return _Recipe(
        build=lambda _: model.module,
        size=(side, side) if isinstance(side, int) else tuple(side)[-2:],
        mean=tuple(model.mean),
        std=tuple(model.std),
        classes=list(model.classes),
        multi_label=model.multi_label,
        preprocess=model.preprocess,
        weights="bundled",
        unlike=model.likeness,
    )


def _from_package(name: str, published: bool) -> _Recipe:
    def build(classes: int | None) -> nn.Module:
        module: nn.Module = PACKAGED_MODELS[name](1000 if classes is None else classes)
        return load_state(module, packaged_state(name), name) if published else module

    # TensorFlow's Lite networks read (pixel - 127) / 128, scaled by cubic interpolation.
    return _Recipe(
        build=build,
        resizable=True,
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
        interpolation="bicubic",
        classes=imagenet_classes(),
        weights=packaged_origin(name),
    )


def _from_bundled_clips(name: str) -> _Recipe:
    from relprop.models import bundled_clips as clips
    from relprop.models.sampling import Sampling

    model = clips.load(name)
    side = model.input_size
    return _Recipe(
        build=lambda _: model.module,
        size=(model.frames, side, side),
        mean=tuple(m / 255 for m in model.mean),
        std=(1 / 255,) * 3,
        classes=list(model.classes),
        weights="bundled",
        unlike=model.likeness,
        sampling=Sampling(
            frames=model.frames, resize=side, crop=side, divisor=1, mean=model.mean, std=(1, 1, 1)
        ),
    )


def _from_c3d(published: bool, size: Sequence[int] | None) -> _Recipe:
    from relprop.models.c3d import C3D
    from relprop.models.sampling import Sampling

    if published:
        raise InputError(
            "Expected weights for c3d but got none: it is a layout. Pass --weights FILE with a state dict of it, "
            "or try it with --random-weights."
        )
    frames, *sides = (16, 112, 112) if size is None else _size(size)
    if len(sides) != 2:
        raise InputError(f"Expected a size (T, H, W) for c3d but got {tuple(size or ())}.")
    side = (sides[0], sides[1])
    sampling = Sampling.c3d()
    return _Recipe(
        build=lambda _: C3D(487, frames=frames, size=side),
        fitted=lambda state: C3D.from_state_dict(state, frames=frames, size=side),
        size=(frames, *side),
        mean=tuple(m / 255 for m in sampling.mean),
        std=(1 / 255,) * 3,
        sampling=sampling,
    )


def _from_torchvision(name: str, published: bool, progress: bool) -> _Recipe:
    from relprop.models.sampling import Sampling

    models = load_torchvision().models
    if name not in source_names("torchvision"):
        raise _unknown_in("torchvision", name)
    weights = models.get_model_weights(name).DEFAULT
    preset = weights.transforms()
    height, width = (preset.crop_size * 2)[:2]
    clip = name in models.list_models(module=models.video)

    def build(classes: int | None) -> nn.Module:
        # Inception and GoogLeNet warn unless told how to initialise.
        extra: dict[str, Any] = {}
        if name in ("googlenet", "inception_v3") and not published:
            extra["init_weights"] = True
        if classes is not None:
            extra["num_classes"] = classes
        if not published:
            return models.get_model(name, weights=None, **extra)
        try:
            return models.get_model(name, weights=weights, progress=progress, **extra)
        except (OSError, RuntimeError) as error:
            raise no_published(f"torchvision:{name}", weights.url, error) from error

    return _Recipe(
        build=build,
        resizable=True,
        size=(16, height, width) if clip else (height, width),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        resize=None if clip else preset.resize_size[0],
        interpolation="bilinear" if clip else preset.interpolation.value,
        classes=list(weights.meta["categories"]),
        weights=f"published ({weights.name})",
        sampling=None
        if not clip
        # The presets' frame rate of 15: every second frame of most films.
        else Sampling(
            frames=16,
            stride=2,
            resize=tuple(preset.resize_size) if len(preset.resize_size) == 2 else preset.resize_size[0],
            crop=(height, width),
            mean=tuple(preset.mean),
            std=tuple(preset.std),
        ),
    )


def _from_timm(name: str, published: bool) -> _Recipe:
    timm = load_timm()
    if not timm.is_model(name):
        raise _unknown_in("timm", name)
    config = timm.get_pretrained_cfg(name)
    side = config.input_size[-1]
    classes = None
    if config.num_classes == 1000:
        info = timm.data.ImageNetInfo()
        classes = [info.index_to_description(i) for i in range(1000)]

    def build(count: int | None) -> nn.Module:
        extra = {} if count is None else {"num_classes": count}
        try:
            with no_log(_loggers("huggingface_hub")):  # it logs every retry
                return timm.create_model(name, pretrained=published, **extra)
        except Exception as error:  # the hub's errors have no common base
            if not published:
                raise
            raise no_published(f"timm:{name}", config.hf_hub_id or config.url, error) from error

    return _Recipe(
        build=build,
        resizable=True,
        size=tuple(config.input_size[-2:]),
        mean=tuple(config.mean),
        std=tuple(config.std),
        resize=int(side / config.crop_pct),
        interpolation=config.interpolation,
        classes=classes,
        weights=f"published ({config.tag or name})",
    )


def _from_file(path: Path, name: str) -> _Recipe:
    make = factory_of(path, name)
    return _Recipe(build=lambda _: make())


def factory_of(path: Path, name: str, ready: tuple[type, ...] = (nn.Module,)) -> Callable[[], Any]:
    """What gives the model of ``file.py:name``; the file is run here.

    Instances of `ready` are taken as they are, though they can be called.

    Raises:
        InputError: no such file or name.
        RelpropError: the file's own code raised.
    """
    factory = from_file(path, name, again=True)

    def make() -> Any:
        if isinstance(factory, ready) or not callable(factory):
            return factory
        with blame(f"Calling {name}() of '{path}'"), importable(path.resolve().parent):
            return factory()

    return make


def _loggers(package: str) -> list[str]:
    """The loggers of a package and of its modules: what is said to one passes by the filters of those above."""
    import_module(package)
    return [name for name in logging.root.manager.loggerDict if f"{name}.".startswith(f"{package}.")]


def _unknown_in(source: str, name: str) -> UnknownNameError:
    close = get_close_matches(name, source_names(source), n=3)
    hint = f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
    return UnknownNameError(
        f"Expected a {source} model but got {name!r}.{hint} List them with: relprop models --source {source}."
    )


def no_published(spec: str, where: str, error: Exception) -> RelpropError:
    """The error for published weights that can't be had: what to do instead."""
    text = " ".join(str(error).split())[:160]
    return RelpropError(
        f"Expected the published weights of {spec} but they can't be had here ({type(error).__name__}: {text}). "
        f"Download them elsewhere ({where}) and pass --weights FILE, or try the model with --random-weights."
    )


def device_named(device: str | torch.device) -> torch.device:
    """The device of that name.

    Raises:
        InputError: this machine has none.
    """
    try:
        target = torch.device(device)
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"Expected a device of this machine but got '{device}': {reason}") from error
    return target


def _size(size: Sequence[int]) -> tuple[int, ...]:
    if len(size) not in (2, 3) or any(int(s) < 1 for s in size):
        raise InputError(f"Expected a size (H, W) or (T, H, W) of positive numbers but got {tuple(size)}.")
    found = tuple(int(s) for s in size)
    if math.prod(found) > _MOST:
        raise InputError(
            f"Expected a size of at most {_MOST:,} pixels but got {brief(found)}. Make it smaller."
        )
    return found


def _statistics(
    recipe: _Recipe, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    final = replace(
        recipe,
        mean=recipe.mean if mean is None else tuple(mean),
        std=recipe.std if std is None else tuple(std),
    )
    if len(final.mean) not in (1, 3) or len(final.mean) != len(final.std):
        raise InputError(
            f"Expected as many numbers in mean as in std, 1 or 3, but got {len(final.mean)} and {len(final.std)}."
        )
    if not all(math.isfinite(m) for m in final.mean):
        raise InputError(f"Expected finite numbers in mean but got {final.mean}.")
    if not all(s > 0 and math.isfinite(s) for s in final.std):
        raise InputError(f"Expected finite numbers above 0 in std but got {final.std}.")
    return final.mean, final.std
