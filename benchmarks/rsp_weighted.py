"""Does RSP get better when its sections read the weights? The same purge, balance and shift around the z+ rule.

    python benchmarks/rsp_weighted.py --model scenes-vgg --scenes 80 --sanity 2

Prints the tables, and the differences between each variant and its original over the same pictures.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from relprop.benchmark.formats import to_text
from relprop.benchmark.recipe import MethodEntry, read_recipe
from relprop.benchmark.run import run
from relprop.benchmark.table import paired_difference
from relprop.benchmark.tabled import table_of
from relprop.methods.bounds import z_box
from relprop.methods.rsp import RSP, ContrastiveRSP
from relprop.propagate.composite import Composite
from relprop.propagate.fallback import handed_on
from relprop.rules import Add, Section
from relprop.tracing.flow import safe_divide
from relprop.tracing.site import Site

HERE = Path(__file__).parent


class WeightedSection(Section):
    r"""Sections carried by positive weights.

    .. math:: \hat R_i = x_i^+ \sum_j \frac{w_{ij}^+}{\sum_{i'} w_{i'j}^+ x_{i'}^+} S_j

    Linear in S, so that both sections go together.
    """

    def carried(self, site: Site, x: Tensor, part: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        weight = site.linear.part("+")
        shared = site.linear.forward(x, weight)
        dead = (part * (shared == 0)).flatten(2).sum(-1)
        out = site.linear.backward(safe_divide(part, shared), weight, x)
        return out.mul_(x).mul_(scale), dead.double()


def weighted(ratio: float, name: str) -> Composite:
    """RSP's composite with that rule; convolutions and batch norms are one map, as positive weights ask."""
    return Composite(
        [
            ("first", z_box("sample")),
            ("linear", WeightedSection("paper", ratio)),
            *handed_on(Add("positive")),
        ],
        None,
        name,
    )


class WeightedRSP(RSP):
    """RSP with that rule."""

    name = "rsp-z-plus"

    def __init__(self, *, hostile: object = None) -> None:
        super().__init__(hostile=hostile)  # type: ignore[arg-type]
        self._composite = weighted(self.ratio, self.name)  # type: ignore[assignment]


class WeightedContrastiveRSP(ContrastiveRSP):
    """Contrastive RSP with that rule."""

    name = "contrastive-rsp-z-plus"

    def __init__(self) -> None:
        super().__init__()
        self._composite = weighted(self.ratio, self.name)  # type: ignore[assignment]


def main() -> None:
    """Run both recipes with the four methods."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="scenes-vgg", choices=["scenes-vgg", "scenes-resnet"])
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--sanity", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("out/rsp-weighted"))
    asked = parser.parse_args()
    here = Path(__file__).resolve()
    methods = (
        MethodEntry("rsp"),
        MethodEntry(f"{here}:WeightedRSP", "rsp-z-plus"),
        MethodEntry("contrastive-rsp"),
        MethodEntry(f"{here}:WeightedContrastiveRSP", "contrastive-rsp-z-plus"),
    )
    kind = asked.model.removeprefix("scenes-")
    for part, count in (("scenes", asked.scenes), ("sanity", asked.sanity)):
        recipe = read_recipe(HERE / f"rsp_{part}_{kind}.toml")
        recipe = replace(recipe, methods=methods, limit=count)
        done = run(recipe, asked.out / f"{part}-{kind}.sqlite")
        table = table_of(done)
        print(to_text(table))
        for column in table.main:
            for one, two in (("rsp-z-plus", "rsp"), ("contrastive-rsp-z-plus", "contrastive-rsp")):
                d = paired_difference(done.records, done.worker.rows.metrics, column.id, one, two)
                print(f"{column.title}: {one} - {two} = {d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}]")
        print()


if __name__ == "__main__":
    main()
