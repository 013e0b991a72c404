"""Capture: from a live model to a graph, by `torch.export`, cached weakly per model and input shape."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, export
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from relprop.errors import CaptureError, InputError
from relprop.graph.alias import in_place, unsafe_writes
from relprop.graph.kinds import kind_of
from relprop.graph.node import Graph, Node
from relprop.graph.signs import is_nonnegative
from relprop.quiet import no_log, no_prints, warnings_as

__all__ = ["capture", "capture_lock", "clear_cache"]

#: Held while a model is captured. `torch.export` puts symbolic tensors in the place of the model's parameters
#: and patches `nn.Module` for the whole process meanwhile, so whatever reads a model or runs it waits.
capture_lock = threading.RLock()

_CACHE: WeakKeyDictionary[nn.Module, dict[Any, Graph]] = WeakKeyDictionary()
_MOST_GRAPHS = 64  # a model; what was used longest ago goes first


def clear_cache(model: nn.Module | None = None) -> None:
    """Forget captured graphs and derived weights, of one model (and of all that it is a part of) or of all.

    Needed only after weights were changed in a way that leaves no trace: through `parameter.data`
    (`p.data.mul_(2)`), which neither moves the storage nor raises its version counter.
    """
    with capture_lock:
        if model is None:
            _CACHE.clear()
        else:
            for owner in [o for o in _CACHE if any(m is model for m in o.modules()) or o is _owner(model)]:
                del _CACHE[owner]


def capture(model: nn.Module, x: Tensor) -> Graph:
    """Capture `model` for inputs like `x`: (N, C, *spatial).

    The graph is cached per model, per (shape without N, dtype, device) and per fingerprint of the
    model's structure, and forgotten with the model. Nothing in the model is changed. The model's own
    forward hooks are part of what it computes: they run once, on symbolic tensors.

    A module whose attribute `graphs_of` is another one shares the graphs of that: it differs from it by the
    values of its own buffers at most. Threads capture one after another (`capture_lock`).

    Raises:
        InputError: when the model is in training mode and that matters.
        CaptureError: when the model can't be exported, or changes its own buffers.
    """
    with capture_lock:
        owner = _owner(model)
        key = (tuple(x.shape[1:]), x.dtype, x.device, _fingerprint(model, owner))
        graphs = _CACHE.get(owner)
        if graphs is None:
            graphs = _CACHE[owner] = {}
        for candidate in (key, (*key, x.shape[0])):
            if candidate in graphs and not (x.shape[0] == 1 and _drops_batch(graphs[candidate])):
                graphs[candidate] = graphs.pop(candidate)  # last used, last dropped
                return graphs[candidate]
        for stale in [k for k in graphs if k[3] != key[3]]:
            del graphs[stale]
        graph = _capture(model, x)
        # Other input sizes of the same model: what is derived from weights is checked against them and shared.
        graph.weights = next((g.weights for g in graphs.values()), graph.weights)
        graphs[key if graph.static_batch is None else (*key, x.shape[0])] = graph
        while len(graphs) > _MOST_GRAPHS:  # a data set of many picture sizes
            del graphs[next(iter(graphs))]
        return graph


def _drops_batch(graph: Graph) -> bool:
    """Whether the graph, captured for any batch size, takes the samples' axis away from a single sample."""
    squeezes = torch.ops.aten.squeeze.default  # of every axis that is 1 long
    return graph.static_batch is None and any(node.target is squeezes for node in graph.nodes)


def _owner(model: nn.Module) -> nn.Module:
    owner: nn.Module = vars(model).get("graphs_of", model)
    return owner


_PLAIN = frozenset({bool, int, float, str, type(None)})


def _fingerprint(model: nn.Module, owner: nn.Module) -> int:
    """What the graph depends on besides values: modules, modes, plain attributes, hooks, ties.

    A module that shares the graphs of an owner goes by the owner's identity and buffers. Runs before every
    explanation, hence without detours.
    """
    facts: list[Any] = []
    add = facts.append
    for path, module in model.named_modules(remove_duplicate=False):
        state = vars(module)
        if module is model and owner is not model:
            add((path, id(owner), type(module)))
            state = {k: v for k, v in state.items() if k != "graphs_of"}
            state |= {k: vars(owner)[k] for k in ("_buffers", "_non_persistent_buffers_set")}
        else:
            add((path, id(module), type(module)))
        for name, value in state.items():
            kind = type(value)
            if kind in _PLAIN:
                add((name, value))
            elif isinstance(value, dict):
                if value:  # parameters, buffers, modules, hooks: identities tell tied from equal ones
                    add((name, tuple(map(str, value)), tuple(map(id, value.values()))))
            elif kind is tuple or kind is list:
                add((name, tuple(v if type(v) in _PLAIN else id(v) for v in value)))
            else:
                add((name, id(value)))
    return hash(tuple(facts))


@contextmanager
def _restoring(model: nn.Module) -> Iterator[None]:
    """Undo what a forward pass on symbolic tensors leaves in the modules' attributes."""
    before = [(m, dict(vars(m))) for m in model.modules()]
    try:
        yield
    finally:
        for module, attributes in before:
            state = vars(module)
            for name in [n for n in state if n not in attributes]:
                del state[name]
            state.update(attributes)


def _training_error(where: str) -> InputError:
    return InputError(
        f"Expected a model in evaluation mode but {where} runs in training mode. Call model.eval() first."
    )


def _capture(model: nn.Module, x: Tensor) -> Graph:
    program, static = _export(model, x)
    graph = _built(program, static)
    if x.shape[0] == 1 and _drops_batch(graph):
        graph = _built(*_export(model, x, any_batch=False))
    return graph


def _built(program: ExportedProgram, static: int | None) -> Graph:
    _check_effects(program)
    if any(in_place(n) for n in program.graph.nodes) and unsafe_writes(program.graph):
        with _quiet():
            program = program.run_decompositions({})
    return _build(program, static)


def _export(model: nn.Module, x: Tensor, *, any_batch: bool = True) -> tuple[ExportedProgram, int | None]:
    # A batch of 1 would be specialised to 1, so the example has two samples.
    pair = x.detach()[:1].expand(2, *x.shape[1:]).contiguous()
    try:
        with torch.no_grad(), _quiet(), _restoring(model):
            if not any_batch:
                return export(model, (x.detach(),)), x.shape[0]
            try:
                return export(model, (pair,), dynamic_shapes=({0: Dim("batch", min=1)},)), None
            except Exception as first:
                try:
                    # Some models fix their batch size, or compute with it. One size is better than none.
                    return export(model, (x.detach(),)), x.shape[0]
                except Exception:
                    raise first from None
    except Exception as error:
        raise CaptureError(_without_batch(model, x) or _export_failure(model, error)) from error


def _without_batch(model: nn.Module, x: Tensor) -> str | None:
    """What to say of a single picture or clip where the network's convolutions want a batch of them."""
    kinds = {2: nn.Conv2d, 3: nn.Conv3d}
    axes = [n for n, kind in kinds.items() if any(isinstance(m, kind) for m in model.modules())]
    if not axes or x.ndim != min(axes) + 1:
        return None
    return (
        f"Can't capture {type(model).__name__} on x of shape {tuple(x.shape)}: its convolutions slide over "
        f"{min(axes)} axes, so that x needs a batch axis in front of its channels. Pass x[None]."
    )


def _export_failure(model: nn.Module, error: Exception) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    name = type(model).__name__
    data_dependent = "data-dependent" in text.lower() or "DataDependent" in type(error).__name__
    if data_dependent or "GuardOnDataDependentSymNode" in text:
        why = "its control flow depends on the values of the input (an `if` or a loop over a tensor's values)"
    else:
        why = "torch.export refused it"
    where = ""
    for match in re.finditer(r'File "([^"]+)", line (\d+)', text):
        if "/torch/" not in match[1]:
            where = f" at {match[1].rsplit('/', 1)[-1]}:{match[2]}"
    return (
        f"Can't capture {name}: {why}{where} ({type(error).__name__}: {first[:300]}). Pass the part of the model "
        "without it: for example the module that maps the image to raw scores, before thresholds, "
        "non-maximum suppression or other choices made on values."
    )


def _check_effects(program: ExportedProgram) -> None:
    for spec in program.graph_signature.output_specs:
        if spec.kind == OutputKind.BUFFER_MUTATION:
            raise CaptureError(
                f"Can't capture the model: its forward pass writes to its own buffer {spec.target!r}. "
                "Explaining it would change it. Remove the write or pass the part of the model without it."
            )
    by_name = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    for node in program.graph.nodes:
        where = f"operator '{_op_name(node)}' in {_module(node)[0] or 'the model itself'}"
        if node.op == "call_function" and in_place(node):
            target = node.args[0]
            spec = (
                by_name.get(target.name)
                if isinstance(target, fx.Node) and target.op == "placeholder"
                else None
            )
            if spec is not None and spec.kind in (
                InputKind.BUFFER,
                InputKind.PARAMETER,
                InputKind.CONSTANT_TENSOR,
            ):
                if _op_name(node) == "add" and str(spec.target).endswith("num_batches_tracked"):
                    raise _training_error(f"the batch norm {str(spec.target).rpartition('.')[0]!r}")
                raise CaptureError(
                    f"Can't capture the model: {where} writes to {spec.target!r}, a tensor that the model owns. "
                    "Explaining it would change it. Remove the write or pass the part of the model without it."
                )
        if _trains(node):
            raise _training_error(where)
        if _draws(node):
            raise CaptureError(
                f"Can't capture the model: {where} draws random numbers, so no two runs agree. Pass the numbers "
                "in as a buffer, or the part of the model without them."
            )


_DROPS = frozenset({"dropout", "alpha_dropout", "feature_dropout"})


def _trains(fx_node: fx.Node) -> bool:
    """Whether a call does what the operator does in training mode only."""
    op = _op_name(fx_node) if fx_node.op == "call_function" else ""
    if op in ("batch_norm", "rrelu"):
        return _arguments(fx_node)["training"] is True
    return op in _DROPS and _arguments(fx_node)["train"] is True and _arguments(fx_node)["p"] != 0


def _draws(fx_node: fx.Node) -> bool:
    """Whether a call takes random numbers; dropout of any kind does so in training mode only."""
    if fx_node.op != "call_function" or torch.Tag.nondeterministic_seeded not in getattr(
        fx_node.target, "tags", ()
    ):
        return False
    given = _by_schema(fx_node, fx_node.target)
    off = given.get("train", given.get("training")) is False
    return not (off or given.get("p") == 0 or given.get("dropout_p") == 0)


def _build(program: ExportedProgram, static: int | None) -> Graph:
    nodes: list[Node] = []
    of: dict[fx.Node, Node] = {}
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    constants: dict[str, Tensor] = {}
    entry: Node | None = None
    outputs: list[Any] = []
    for fx_node in program.graph.nodes:
        if fx_node.op == "output":
            outputs = [_swap(a, of) for a in fx_node.args[0]]
            continue
        index = len(nodes)
        if fx_node.op == "placeholder":
            spec = specs[fx_node.name]
            if spec.kind == InputKind.USER_INPUT:
                node = Node(index, "input", "input", "input", dependent=True)
                entry = node
            elif spec.kind in (InputKind.PARAMETER, InputKind.BUFFER):
                node = Node(index, fx_node.name, "parameter", "parameter", fqn=str(spec.target))
            else:
                node = Node(index, fx_node.name, "constant", "constant", fqn=str(spec.target))
                constants[node.fqn] = program.constants[node.fqn]
        elif fx_node.op == "call_function":
            source = fx_node.args[0] if fx_node.args else None
            if (
                _op_name(fx_node) == "getitem"
                and isinstance(source, fx.Node)
                and of[source].op in _FIRST_ONLY
            ):
                of[fx_node] = of[source]  # the operator was taken for its first result
                continue
            node = _operator(index, fx_node, of)
        else:
            raise CaptureError(
                f"Can't capture the model: it holds {fx_node.op!r} ({fx_node.name!r}), no tensor operator."
            )
        of[fx_node] = node
        nodes.append(node)
    if entry is None:
        raise CaptureError("Can't capture the model: it doesn't take a tensor.")
    for node in nodes:
        for operand in dict.fromkeys(node.operands()):
            operand.users.append(node)
    spec = program.call_spec.out_spec
    user_outputs = [
        out
        for out, s in zip(outputs, program.graph_signature.output_specs, strict=True)
        if s.kind == OutputKind.USER_OUTPUT
    ]
    return Graph(
        nodes, entry, user_outputs, lambda flat: pytree.tree_unflatten(flat, spec), constants, static
    )


def _operator(index: int, fx_node: fx.Node, of: dict[fx.Node, Node]) -> Node:
    op = _op_name(fx_node)
    arguments = {name: _swap(value, of) for name, value in _arguments(fx_node).items()}
    if op in ("clamp", "clamp_min") and _clamps_at_zero(arguments):
        op = "relu"  # by another name
    module, modules, call = _module(fx_node)
    args = _swap(fx_node.args, of)
    kwargs = {k: _swap(v, of) for k, v in fx_node.kwargs.items()}
    node = Node(
        index, fx_node.name, op, kind_of(op), _functional(fx_node), args, kwargs, arguments, module, modules,
        call, _source(fx_node),
    )  # fmt: skip
    if op in ("sym_size", "sym_numel") or (
        not isinstance(fx_node.target, torch._ops.OpOverload) and op != "getitem"
    ):
        node.kind = "symbol"  # arithmetic on sizes: no tensor, no relevance
    else:
        node.dependent = (
            op not in _SHAPE_ONLY and _is_real(fx_node) and any(n.dependent for n in node.operands())
        )
        node.nonneg = node.dependent and is_nonnegative(node)
        node.batch_axis, node.per_sample = _batch_axis(fx_node)
    return node


# Return (result, statistics, ...): only the result is ever used in evaluation mode.
_FIRST_ONLY = frozenset({"_native_batch_norm_legit_no_training", "cudnn_batch_norm", "native_layer_norm"})


# Take shape and type of their argument, not its values.
_SHAPE_ONLY = frozenset(
    "new_zeros new_ones new_full new_empty zeros_like ones_like full_like empty_like".split()
)


def _arguments(fx_node: fx.Node) -> dict[str, Any]:
    """A call's arguments by the names of the operator's (functional) schema, with the schema's defaults."""
    return _by_schema(fx_node, fx_node.target if _op_name(fx_node) in _FIRST_ONLY else _functional(fx_node))


def _by_schema(fx_node: fx.Node, target: Any) -> dict[str, Any]:
    schema = getattr(target, "_schema", None)
    if schema is None:
        return {}
    given = dict(zip((a.name for a in schema.arguments), fx_node.args, strict=False)) | fx_node.kwargs
    # What is left out has a default.
    return {a.name: given.get(a.name, a.default_value) for a in schema.arguments}


def _clamps_at_zero(arguments: dict[str, Any]) -> bool:
    low = arguments["min"]
    return isinstance(low, (int, float)) and low == 0 and arguments.get("max") is None


def _batch_axis(fx_node: fx.Node) -> tuple[int | None, bool]:
    """The axis of a value whose size depends on the batch size, and whether it is axis 0 and nothing but it."""
    value = fx_node.meta.get("val")
    value = value[0] if isinstance(value, (list, tuple)) and value else value
    if not isinstance(value, Tensor):
        return 0, True
    symbolic = [i for i, size in enumerate(value.shape) if not isinstance(size, int)]
    if not symbolic:  # captured for one batch size only: samples come first unless proven otherwise
        return 0, True
    size: Any = value.shape[symbolic[0]]  # a SymInt: the batch size itself, or a product with it
    return symbolic[0], symbolic[0] == 0 and bool(size.node.expr.is_symbol)


def _is_real(fx_node: fx.Node) -> bool:
    """Whether the value is one or several floating-point tensors (no mask, no index)."""
    value = fx_node.meta.get("val")
    leaves = value if isinstance(value, (list, tuple)) else [value]
    tensors = [v for v in leaves if isinstance(v, Tensor)]
    return not tensors or any(t.is_floating_point() for t in tensors)


def _functional(fx_node: fx.Node) -> Any:
    target = fx_node.target
    if _op_name(fx_node) in _FIRST_ONLY:
        return lambda *args, **kwargs: target(*args, **kwargs)[0]  # type: ignore[operator]
    if not in_place(fx_node):
        return target
    assert isinstance(target, torch._ops.OpOverload)
    packet = getattr(torch.ops.aten, target._opname.removesuffix("_"), None)
    overload = getattr(packet, target._overloadname, None) if packet is not None else None
    if overload is None:
        raise CaptureError(
            f"Can't capture the model: no functional form of in-place operator '{target}' is known."
        )
    return overload


def _op_name(fx_node: fx.Node) -> str:
    target = fx_node.target
    if isinstance(target, torch._ops.OpOverload):
        name = target._opname
        return name.removesuffix("_") if target._schema.is_mutable else name
    return str(getattr(target, "__name__", target))


def _module(fx_node: fx.Node) -> tuple[str, tuple[str, ...], int]:
    stack = fx_node.meta.get("nn_module_stack") or {}
    paths = tuple(path for path, _ in stack.values())
    key = next(reversed(stack)) if stack else ""
    call = int(key.rpartition("@")[2]) if "@" in key else 0
    return (paths[-1] if paths else ""), paths, call


def _source(fx_node: fx.Node) -> str:
    trace = fx_node.meta.get("stack_trace") or ""
    frames = re.findall(r'File "([^"]+)", line (\d+), in \S+\n\s*(.*)', trace)
    for path, line, text in reversed(frames):
        if "/torch/nn/" not in path and "/torch/_" not in path:
            return f"{path.rsplit('/', 1)[-1]}:{line}: {text.strip()}"
    return ""


def _swap(tree: Any, of: dict[fx.Node, Node]) -> Any:
    if isinstance(tree, fx.Node):
        return of[tree]
    if isinstance(tree, (list, tuple)):
        return (
            type(tree)(_swap(part, of) for part in tree)
            if type(tree) in (list, tuple)
            else [_swap(part, of) for part in tree]
        )
    return tree


_LOGGERS = (
    "torch.export",
    "torch.export._trace",
    "torch.export.dynamic_shapes",
    "torch.fx.experimental.symbolic_shapes",
    "torch._subclasses.fake_tensor",
)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch.export's notices to itself: they speak of its own internals.

    A failing export also prints the graph it has so far.
    """
    with warnings_as("ignore"), no_log(_LOGGERS), no_prints(("torch.export._trace", "torch.fx.graph_module")):
        yield
