"""`relprop inspect`. Nothing here imports torch before the command runs."""

from __future__ import annotations

from relprop.cli.options import Debug, Device, Json, Model, Size, Weights, parsed_size

__all__ = ["inspect"]


def inspect(
    model: Model,
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

    # Coverage does not depend on weights, so torchvision's and timm's published ones are not looked for.
    published = model.startswith(("torchvision:", "timm:"))
    with results_alone():
        loaded = load_model(
            model,
            weights=weights,
            random_weights=published and weights is None,
            size=parsed_size(size),
            device=device,
        )
        coverage = relprop.inspect(loaded.module, loaded.example())
    if json:
        rows = [asdict(row) for row in coverage.rows]
        print_json(
            {"model": model, "input_size": list(loaded.input_size), "start": coverage.start, "rows": rows}
        )
    else:
        print_lines(str(coverage))
