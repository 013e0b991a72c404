"""Random networks from one number, as source code: what fails is a script that anyone can run.

A `Recipe` says which operators read which values; `write` executes it step by step, since the code of a step
depends on the shapes that reach it, and returns the network as text. What a recipe leaves out (`minimise`)
is filled in again by the same way, so that a smaller recipe is a network too.
"""

from __future__ import annotations

import functools
import random
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from tests.fuzz.operators import OPERATORS, Operator
from torch import Tensor, nn

__all__ = [
    "BATCH",
    "CLASSES",
    "GROUPS",
    "OWN",
    "Recipe",
    "Step",
    "Unfit",
    "Written",
    "draw",
    "namespace",
    "write",
]

BATCH = 3
CLASSES = 3
OWN = -2
"""The place of a second operand that a step makes for itself from its first."""
_LARGEST = 700  # numbers a sample at one value
_SPATIAL = {0: (7,), 1: (3, 8), 2: (4, 6, 5), 3: (2, 3, 4, 4)}
_AXES = {"flat": (2,), "seq": (3,), "1d": (3,), "2d": (4,), "3d": (5,), "map": (3, 4, 5)}

HELPERS = {
    "_batch_norm": '''
def _batch_norm(norm):
    """Statistics and factors as training leaves them."""
    ranges = {"running_mean": (-0.3, 0.3), "running_var": (0.5, 1.5), "weight": (-1.0, 1.5), "bias": (-0.3, 0.3)}
    for name, (low, high) in ranges.items():
        if getattr(norm, name) is not None:
            nn.init.uniform_(getattr(norm, name), low, high)
    return norm
''',
    "_hooked": """
def _hooked(module):
    module.register_forward_hook(lambda module, args, out: 2 * out)
    return module
""",
    "_prehooked": """
def _prehooked(module):
    module.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    return module
""",
    "_Twice": """
class _Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, g):
        return 3 * g
""",
}
"""What the code of an operator may call besides torch."""


@dataclass(frozen=True)
class Step:
    """One operator: its name, the values it reads (-1 is the input), and the number that its choices come from."""

    operator: str
    x: int
    y: int
    choice: int


@dataclass(frozen=True)
class Recipe:
    """A network as plain data: steps in order, the values that its head reads, and the input's shape."""

    seed: int
    shape: tuple[int, ...]
    steps: tuple[Step, ...]
    heads: tuple[int, ...]

    @property
    def facts(self) -> frozenset[str]:
        """The facts of all operators together; "exact" only if it holds of each."""
        rows = [OPERATORS[s.operator].facts for s in self.steps]
        every = frozenset().union(*rows) - {"exact"}
        return every | ({"exact"} if all("exact" in r for r in rows) else frozenset())

    @property
    def operators(self) -> list[str]:
        """The names of its operators, in order."""
        return [s.operator for s in self.steps]


@dataclass(frozen=True)
class Written:
    """A network as source code, and the shapes of its values."""

    source: str
    shapes: tuple[tuple[int, ...], ...]


class Unfit(Exception):
    """A step can't stand where a recipe puts it."""


def namespace() -> dict[str, Any]:
    """The names that the code of a network may use."""
    names: dict[str, Any] = {"torch": torch, "nn": nn, "F": F, "functools": functools}
    for code in HELPERS.values():
        exec(code, names)  # our own text
    return names


class _Run:
    """Executes a recipe step by step and writes down the code of each."""

    def __init__(self, recipe: Recipe) -> None:
        self.names = namespace()
        generator = torch.Generator().manual_seed(recipe.seed)
        self.values: list[Tensor] = [
            torch.randn(BATCH, *recipe.shape, generator=generator, dtype=torch.float64)
        ]
        self.names["v0"] = self.values[0]
        self.self = nn.Module().eval()
        self.names["self"] = self.self
        self.made: list[str] = []
        self.lines: list[str] = []

    def take(self, step: Step) -> Tensor:
        """Execute one more step.

        Raises:
            Unfit: the operator doesn't take this value, or gives what can't be read on.
        """
        row, number = OPERATORS[step.operator], len(self.values)
        if not (-1 <= step.x < number - 1):
            raise Unfit("reads what isn't there yet")
        x = self.values[step.x + 1]
        if row.takes != "any" and x.ndim not in _AXES[row.takes]:
            raise Unfit("axes")
        made, lines = _code(row, step, number, x, self.values)
        before = [v.clone() for v in self.values]
        kept = set(vars(self.self))
        try:
            with torch.no_grad():
                for line in made:
                    exec(line, self.names)
                for part in self.self.children():
                    part.double().eval()
                _double(self.self)
                exec("\n".join(lines), self.names)
            value = _readable(self.names.get(f"v{number}"))
        except Exception as error:
            for old, value in zip(before, self.values, strict=True):
                if not torch.equal(value, old):
                    value.copy_(old)
            for name in set(vars(self.self)) - kept:
                del vars(self.self)[name]
            raise Unfit(str(error)) from error
        self.values.append(value)
        self.made += made
        self.lines += lines
        return value


def _double(module: nn.Module) -> None:
    for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
        if value.is_floating_point() and value.dtype != torch.float64:
            value.data = value.data.double()
            assert getattr(module, name) is value


def _readable(value: Any) -> Tensor:
    """The value of a step, if another one can read it."""
    if not isinstance(value, Tensor) or value.dtype != torch.float64 or not 2 <= value.ndim <= 6:
        raise Unfit("no floating-point tensor")
    if value.shape[0] != BATCH or not 0 < value.numel() <= BATCH * _LARGEST:
        raise Unfit("size")
    if not bool(torch.isfinite(value).all()) or not 1e-3 < float(value.abs().max()) < 1e3:
        raise Unfit("scale")
    return value


def _code(
    row: Operator, step: Step, number: int, x: Tensor, values: list[Tensor]
) -> tuple[list[str], list[str]]:
    """What a step adds to the constructor, and to forward."""
    rng = random.Random(step.choice)
    x_name = f"v{step.x + 1}"
    fits = 0 <= step.y + 1 < number and values[step.y + 1].shape == x.shape
    names = {
        "x": x_name, "y": f"v{step.y + 1}" if fits else f"(0.5 * {x_name} + 0.2)", "o": f"v{number}",
        "t": f"t{number}", "s": f"s{number}", "C": x.shape[1], "D": x.shape[-1], "H": x.shape[-2],
        "d": x.ndim - 2, **{part: f"self.{part}{number}" for part in row.parts},
    }  # fmt: skip

    def filled(text: str) -> str:
        drawn = re.sub(r"\{([^{}]*\|[^{}]*)\}", lambda m: rng.choice(m[1].split("|")), text)
        return string.Template(drawn).substitute(names)

    made = [f"self.{part}{number} = {filled(code)}" for part, code in row.parts.items()]
    code = row.code if "$o" in row.code else f"$o = {row.code}"
    return made, filled(code).split("\n")


def write(recipe: Recipe) -> Written:
    """The network of a recipe as source code that makes `model` and `x`, in float64.

    Raises:
        Unfit: a step can't stand where the recipe puts it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        run = _Run(recipe)
        for step in recipe.steps:
            run.take(step)
    heads = []
    made = list(run.made)
    for i, head in enumerate(recipe.heads):
        made.append(f"self.head{i} = nn.Linear({run.values[head + 1][0].numel()}, {CLASSES})")
        heads.append(f"self.head{i}(v{head + 1}.flatten(1))")
    text = "\n".join([*made, *run.lines])
    used = [code.strip() + "\n\n\n" for name, code in HELPERS.items() if name in text]
    shape = ", ".join(map(str, (BATCH, *recipe.shape)))
    body = "\n".join(f"        {line}" for line in ["super().__init__()", *made])
    forward = "\n".join(f"        {line}" for line in [*run.lines, "return " + " + ".join(heads)])
    source = (
        "import functools\n\nimport torch\nimport torch.nn.functional as F\nimport torch.utils.checkpoint\n"
        f"from torch import nn\n\n\n{''.join(used)}class Net(nn.Module):\n    def __init__(self):\n{body}\n\n"
        f"    def forward(self, v0):\n{forward}\n\n\n"
        f"torch.manual_seed({recipe.seed})\nmodel = Net().double().eval()\n"
        f"x = torch.randn({shape}, generator=torch.Generator().manual_seed({recipe.seed}), dtype=torch.float64)\n"
    )
    return Written(source, tuple(tuple(v.shape) for v in run.values))


def _groups() -> list[list[str]]:
    """The table in small groups that fit together: each seed has to use one of them.

    What refuses any network that holds it is kept apart from what is to be computed.
    """
    order = random.Random(0)
    apart: list[list[str]] = [[], [], []]
    for name, row in OPERATORS.items():
        shut = (
            "random" in row.facts or " of value" in name or name in ("item", "boolean select", "torch.cond")
        )
        apart[2 if shut else 0 if "exact" in row.facts else 1].append(name)
    groups = []
    for names, size in zip(apart, (5, 4, 1), strict=True):
        order.shuffle(names)
        # 1-D and 3-D operators can't share a network.
        names.sort(key=lambda n: OPERATORS[n].takes in ("1d", "3d"))
        groups += [names[i : i + size] for i in range(0, len(names), size)]
    order.shuffle(groups)
    return groups


GROUPS = _groups()
"""Operators that one network has to hold; `len(GROUPS)` seeds in a row go through the table once."""


def draw(seed: int, musts: Sequence[str] | None = None, steps: int = 9) -> Recipe:
    """A random network, the same for the same number.

    Args:
        seed: any whole number >= 0.
        musts: operators that it has to hold, where they fit; by default the seed's own group of the table.
        steps: the most steps.
    """
    rng = random.Random(seed)
    musts = list(GROUPS[seed % len(GROUPS)] if musts is None else musts)
    rng.shuffle(musts)
    exact = all("exact" in OPERATORS[m].facts for m in musts)
    closed = [n for n, row in OPERATORS.items() if not row.facts & {"random", "mixes", "narrow"}]
    pool = [n for n in closed if "exact" in OPERATORS[n].facts] if exact else closed
    takes = {OPERATORS[m].takes for m in musts}
    asked = [n for n in (3, 1, 2) if f"{n}d" in takes]
    axes = asked[0] if asked else rng.choices([0, 1, 2, 3], [1, 2, 6, 1])[0]
    if axes == 0 and takes & {"map", "seq"}:
        axes = 2
    recipe = Recipe(seed, _SPATIAL[axes], (), ())
    wanted = rng.randint(max(2, len(musts)), max(3, steps))
    found: list[Step] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        run = _Run(recipe)
        while len(found) < wanted or musts:
            must = bool(musts) and rng.random() < max(0.5, len(musts) / max(1, wanted - len(found)))
            name = musts.pop() if must else rng.choice(pool)
            for _ in range(40 if must else 3):
                step = _step(rng, run, name)
                if step is None:
                    break
                try:
                    run.take(step)
                except Unfit:
                    continue
                found.append(step)
                break
            else:
                continue
            if step is None and must and _adapt(rng, run, name, found):
                musts.append(name)
    read = {s.x for s in found} | {s.y for s in found}
    loose = [i for i in range(len(found)) if i not in read and i != len(found) - 1]
    heads = [len(found) - 1, *rng.sample(loose, min(len(loose), 3))]
    return Recipe(seed, recipe.shape, tuple(found), tuple(heads))


def _step(rng: random.Random, run: _Run, name: str) -> Step | None:
    """A step with values that its operator takes, late ones rather; None where there are none."""
    takes = OPERATORS[name].takes
    fits = [i for i, v in enumerate(run.values) if takes == "any" or v.ndim in _AXES[takes]]
    if not fits:
        return None
    x = rng.choice(fits[-2:] if rng.random() < 0.7 else fits)
    same = [i for i, v in enumerate(run.values) if v.shape == run.values[x].shape and i != x]
    y = rng.choice(same) - 1 if same else OWN
    return Step(name, x - 1, y, rng.randrange(2**31))


def _adapt(rng: random.Random, run: _Run, name: str, found: list[Step]) -> bool:
    """Bring a value into the shape that an operator takes; whether that went well."""
    way = {"flat": "flatten", "seq": "view", "1d": "view"}.get(OPERATORS[name].takes)
    step = None if way is None else _step(rng, run, way)
    if step is None:
        return False
    try:
        run.take(step)
    except Unfit:
        return False
    found.append(step)
    return True
