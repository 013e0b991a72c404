"""`relprop inspect`. Nothing here imports torch before the command runs."""

from __future__ import annotations

from typing import Annotated

from relprop.catalogue import METHODS
from relprop.cli.options import (
    Debug,
    Device,
    Json,
    Model,
    Size,
    Weights,
    checked,
    method_names,
    output_key,
    parsed_size,
)
from relprop.cli.panels import how_option, what_option

__all__ = ["inspect"]

_Method = Annotated[
    str | None,
    how_option(
        "--method",
        "-x",
        metavar="NAME[:KEY=VALUE,...]",
        help="Whose rules to show: a method whose rules are one composite. Default: LRP-0.",
        autocompletion=method_names,
        callback=checked(METHODS.check),
    ),
]
_Part = Annotated[
    str | None,
    what_option("--output", metavar="KEY", help="Which of a model's outputs: a name or an index."),
]
_Start = Annotated[
    str | None, what_option(metavar="NAME", help="A layer that relevance starts at in place of the output.")
]


def inspect(
    model: Model,
    method: _Method = None,
    output: _Part = None,
    start: _Start = None,
    weights: Weights = None,
    size: Size = None,
    device: Device = "cpu",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List a model's operators and the rule for each, or the reason why there is none."""
    from dataclasses import asdict

    import relprop
    from relprop.cli.output import print_json, print_lines, results_alone
    from relprop.models.sources import load_model
    from relprop.propagate.composite import composite_of

    # Coverage does not depend on weights, so torchvision's and timm's published ones are not looked for.
    published = model.startswith(("torchvision:", "timm:"))
    with results_alone():
        rules = (
            None if method is None else composite_of(method)
        )  # a typing error shall not wait for the model
        loaded = load_model(
            model,
            weights=weights,
            random_weights=published and weights is None,
            size=parsed_size(size),
            device=device,
        )
        coverage = relprop.inspect(
            loaded.module, loaded.example(), rules, output=output_key(output), start=start
        )
    if json:
        rows = [asdict(row) for row in coverage.rows]
        head = {"model": model, "input_size": list(loaded.input_size), "rules": coverage.composite}
        print_json(head | {"start": coverage.start, "complete": coverage.complete, "rows": rows})
    else:
        print_lines(str(coverage))
