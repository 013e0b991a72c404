"""explain_many: a folder, a list or a loader of pictures, in batches, as a stream or on the disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, overload

from numpy.typing import NDArray
from torch import Tensor, nn

from relprop.bar import progress_bar
from relprop.checks import layer_names
from relprop.errors import InputError
from relprop.explanation import Explanation
from relprop.explanation.answer import Asking
from relprop.explanation.explain import Target
from relprop.explanation.warned import tell
from relprop.many.ahead import ahead
from relprop.many.batches import Answered, Batch, Batches
from relprop.many.order import InOrder
from relprop.many.pictures import Failure, Given, Preprocess, Reader, Ready, given, known_length
from relprop.many.results import Results, Saved, settings_of
from relprop.methods.facts import Facts, facts_of
from relprop.methods.registry import MethodLike, resolve
from relprop.models.bundled import BundledModel
from relprop.models.loaded import LoadedModel
from relprop.models.sources import load_model
from relprop.tracing.view import Key

__all__ = ["Explanations", "Progress", "explain_many", "save_many"]

_AHEAD = 16  # pictures that are read before they are explained
Model = nn.Module | BundledModel | LoadedModel | str

#: Called with (pictures done, pictures or None, name of the last one).
Progress = Callable[[int, int | None, str], None]

Ask = Callable[[Ready], Any]


class Explanations(Iterator[Explanation]):
    """The explanations of many pictures, one after another, in the order of the pictures.

    Nothing is computed before the first is asked for, and `close()` ends it early. Pictures that could not be
    explained are left out, and stand in `failures`.

    Attributes:
        failures: so far; each with `index`, `name` and `text`.
        total: how many pictures there are, or None where nobody knows.
    """

    def __init__(self, results: Generator[Answered | Failure, None, None], total: int | None) -> None:
        self._results = results
        self._count = self._warned = 0
        self._told = False
        self.total = total
        self.failures: list[Failure] = []

    def __next__(self) -> Explanation:
        for found in self._results:
            if isinstance(found, Failure):
                self.failures.append(found)
                continue
            (explanation,) = found.explanations.values()
            self._count += 1
            if explanation.warnings:
                self._warned += 1
                if self._warned == 1:
                    tell([f"{explanation.name}: {explanation.warnings[0]}"], stacklevel=2)
            return explanation
        if not self._told:
            self._told = True
            if self.failures and not self._count:
                raise none_explained(self.failures)
            tell(_said(self.failures, self._count, self._warned), stacklevel=2)
        raise StopIteration

    def close(self) -> None:
        """End it: nothing more is read or computed."""
        self._results.close()


@overload
def explain_many(
    model: Model,
    pictures: Any,
    target: Target | Sequence[Target] | None = None,
    method: MethodLike = "lrp-composite",
    layers: Sequence[str] = (),
    *,
    preprocess: Preprocess | None = None,
    batch: Batch = "auto",
    out: None = None,
    progress: Progress | bool | None = None,
    versus: int | str | None = None,
    region: Tensor | NDArray[Any] | Literal["all"] | None = None,
    start: str | None = None,
    output: Key = None,
    channel_axis: int = 1,
    facts: Facts | None = None,
) -> Explanations: ...


@overload
def explain_many(
    model: Model,
    pictures: Any,
    target: Target | Sequence[Target] | None = None,
    method: MethodLike = "lrp-composite",
    layers: Sequence[str] = (),
    *,
    preprocess: Preprocess | None = None,
    batch: Batch = "auto",
    out: str | Path,
    progress: Progress | bool | None = None,
    versus: int | str | None = None,
    region: Tensor | NDArray[Any] | Literal["all"] | None = None,
    start: str | None = None,
    output: Key = None,
    channel_axis: int = 1,
    facts: Facts | None = None,
) -> Saved: ...


def explain_many(
    model: Model,
    pictures: Any,
    target: Target | Sequence[Target] | None = None,
    method: MethodLike = "lrp-composite",
    layers: Sequence[str] = (),
    *,
    preprocess: Preprocess | None = None,
    batch: Batch = "auto",
    out: str | Path | None = None,
    progress: Progress | bool | None = None,
    versus: int | str | None = None,
    region: Tensor | NDArray[Any] | Literal["all"] | None = None,
    start: str | None = None,
    output: Key = None,
    channel_axis: int = 1,
    facts: Facts | None = None,
) -> Explanations | Saved:
    """Explain many pictures: the same as `relprop.explain` of each, in batches, with bounded memory.

    Pictures of one size run together; a few batches' worth of others is held meanwhile, so that the
    explanations come in the order of the pictures. Each is of one picture, equal to that of `relprop.explain` up
    to rounding, with `name` and `index`. Where samples can't be told apart (they meet in the network, its graph is
    bound to a batch size, a function is the method), pictures run one at a time. A picture that can't be read or
    explained is left out and recorded; the others go on.

    Args:
        model: a module, in evaluation mode; what `relprop.models.load` or `relprop.models.sources.load_model`
            gives; or a specification that the latter takes. It is left as it came.
        pictures: files, folders (with those inside them) or patterns ("photos/*.jpg"), one or several; or an
            iterable of tensors (C, H, W) or (N, C, *spatial), files or PIL pictures, or of (picture, target) pairs
            of them, such as a data set or a `DataLoader`. Files are decoded ahead in threads. An iterable is
            drawn from in the thread that calls, a few pictures ahead; a loader's own workers read ahead.
        target: of all pictures, as for `relprop.explain`. None: what a picture brings along, or its top class.
        method: as for `relprop.explain`.
        layers: as for `relprop.explain`.
        preprocess: a picture (PIL) to the model's input, (C, H, W) or (1, C, H, W); None: the model's own, where
            relprop loaded it. It runs in other threads.
        batch: how many pictures of one size run together. "auto": by their size (8 of 224² on a CPU), or by the
            memory of an accelerator; halved where the memory isn't enough.
        out: a folder that the explanations go to, each at once as a folder (`Explanation.save`, with its picture)
            below the picture's name; `summary.csv` lists class, score and ledger of each. What is there already,
            whole and of the same settings, is skipped; other settings are refused. None: they are returned.
        progress: True for a bar with rate and remaining time, in a notebook or on a terminal; or a
            function of (pictures done, pictures or None, name of the last).
        versus, region, start, output, channel_axis, facts: as for `relprop.explain`; of all pictures.

    Returns:
        Without `out` an iterator of explanations, which computes as it is asked; its `failures` are the pictures
        that were left out. With `out` what was done, once it is.

    Raises:
        InputError: bad pictures, target, method or layer; all pictures failed (the first one's error is named); a
            folder of other settings. What isn't about one picture is raised at the first.
        CaptureError: the model can't be captured as a graph of tensor operators.
        UnsupportedOperatorError: relevance would reach an operator that has no rule.

    Warns:
        RelpropWarning: at the first explanation with `warnings`, and at the end if there were more, or failures.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2, bias=False)).eval()
    >>> found = relprop.explain_many(net, torch.ones(3, 3, 2, 2), target=1, method="lrp-0")
    >>> [(e.index, e.name, tuple(e.relevance.shape)) for e in found]
    [(0, 'picture 0', (1, 3, 2, 2)), (1, 'picture 1', (1, 3, 2, 2)), (2, 'picture 2', (1, 3, 2, 2))]
    """
    recipe = resolve(method)
    listed = given(pictures)
    module, shown = _shown(model, preprocess)
    asking = Asking(recipe, layer_names(layers), versus, region, start, facts)
    batches = Batches(module, {recipe.name: asking}, output, channel_axis, batch)
    reader = Reader(module, shown, target)
    total = known_length(listed)
    if out is None:
        return Explanations(_watched(streamed(batches, reader, listed), total, progress), total)
    labels = (facts_of(module) if facts is None else facts).classes
    results = Results(
        Path(out), settings_of(batches, shown, target), [recipe.name], {"labels": labels}, labels=labels
    )
    saved = save_many(results, batches, reader, listed, progress)
    warned = len({row["index"] for row in saved.rows if row["warnings"]})
    tell(_said(saved.failures, saved.computed + saved.kept, warned), stacklevel=2)
    return saved


def save_many(
    results: Results,
    batches: Batches,
    reader: Reader,
    listed: Iterable[Given],
    progress: Progress | bool | None = None,
    ask: Ask | None = None,
) -> Saved:
    """Explain what a folder of results misses, and write it there as it comes.

    Args:
        results: the folder.
        batches, reader, listed, ask: see `streamed`.
        progress: as for `explain_many`.

    Raises:
        InputError: none could be explained.
        OutputError: results can't be written; those that were are kept.
    """
    began, total = time.perf_counter(), known_length(listed)
    with ExitStack() as stack:
        tell_it = _teller(progress, stack)
        stream = streamed(batches, reader, results.missing(listed), ask)
        stack.callback(stream.close)
        try:
            for done, found in enumerate(stream, start=1):
                results.add(found)
                name = found.name if isinstance(found, Failure) else found.given.name
                tell_it(results.kept + done, total, name)
        finally:  # interrupted too: the summary tells of what is there
            saved = results.finish()
    if results.failures and not results.kept and not results.computed:
        raise none_explained(results.failures)
    return replace(saved, seconds=time.perf_counter() - began)


def streamed(
    batches: Batches, reader: Callable[[Given], Ready], listed: Iterable[Given], ask: Ask | None = None
) -> Generator[Answered | Failure, None, None]:
    """The explanations of pictures, or why there is none, in order.

    Args:
        batches: explains.
        reader: makes pictures ready, in other threads.
        listed: the pictures.
        ask: what is asked of a picture, in this thread; None: what it says itself.
    """

    def read(one: Given) -> Ready | Failure:
        try:
            return reader(one)
        except Exception as error:  # a damaged file can make a decoder do anything
            return batches.failed(one, error)

    in_order: InOrder[Ready | Failure, Answered | Failure] = InOrder(
        batches.kind, batches.size, batches.work, batches.held
    )

    def asked(one: Ready | Failure) -> Ready | Failure:
        if ask is None or isinstance(one, Failure):
            return one
        try:
            return replace(one, target=ask(one))
        except Exception as error:
            return batches.failed(one.given, error)

    things = ahead(listed, read, _AHEAD)
    with closing(things):
        yield from in_order(map(asked, things))


def none_explained(failures: Sequence[Failure]) -> InputError:
    """The error where every picture failed."""
    if len(failures) == 1:
        return InputError(f"Expected a picture that can be explained but got {failures[0]}")
    return InputError(
        f"Expected pictures that can be explained but each of {len(failures)} failed, the first so: {failures[0]}"
    )


def _shown(model: Any, preprocess: Preprocess | None) -> tuple[nn.Module, Preprocess | None]:
    """The module, and what makes pictures its inputs."""
    if isinstance(model, str):
        model = load_model(model)
    if isinstance(model, (BundledModel, LoadedModel)):
        return model.module, model.preprocess if preprocess is None else preprocess
    if not isinstance(model, nn.Module):
        raise InputError(
            "Expected a torch.nn.Module, a specification such as 'scenes-vgg', or a loaded model, but got "
            f"{type(model).__name__}."
        )
    return model, preprocess


def _watched(
    results: Generator[Answered | Failure, None, None], total: int | None, progress: Progress | bool | None
) -> Generator[Answered | Failure, None, None]:
    """The same, told to a bar or a function."""
    with closing(results), ExitStack() as stack:
        tell_it = _teller(progress, stack)
        for done, found in enumerate(results, start=1):
            tell_it(done, total, found.name if isinstance(found, Failure) else found.given.name)
            yield found


def _teller(progress: Progress | bool | None, stack: ExitStack) -> Progress:
    if progress is True:
        return stack.enter_context(progress_bar("pictures")) or _nobody
    return progress or _nobody


def _nobody(done: int, total: int | None, name: str) -> None:
    pass


def _said(failures: Sequence[Failure], explained: int, warned: int) -> list[str]:
    """What is told at the end."""
    said = []
    if failures:
        said.append(
            f"{len(failures)} of {len(failures) + explained} pictures could not be explained, the first: "
            f"{failures[0]}"
        )
    if warned > 1:
        said.append(
            f"{warned} of {explained} explanations have warnings; they stand in each one's `warnings`."
        )
    return said
