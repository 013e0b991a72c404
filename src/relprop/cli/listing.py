"""`relprop methods` and `relprop models`: what there is."""

from __future__ import annotations

from relprop.cli.output import print_json, print_lines, print_table

__all__ = ["list_methods", "list_models"]


def list_methods(json: bool) -> None:
    """Print the methods and what each does."""
    from relprop.methods.registry import methods

    found = methods()
    if json:
        print_json(found)
    else:
        print_table(["method", "what it does"], [[name, text] for name, text in found.items()])


def list_models(source: str | None, json: bool) -> None:
    """Print the bundled models, or the names that a library offers.

    Raises:
        InputError: no such library, or not installed.
    """
    if source is not None:
        from relprop.models.sources import source_names

        names = [f"{source}:{name}" for name in source_names(source)]
        if json:
            print_json(names)
        else:
            print_lines(*names)
        return
    from relprop.detectors.bundled import models as detectors
    from relprop.models import models
    from relprop.models.bundled_clips import models as clips

    found = models()
    found |= {name: f"for relprop detect: {text}" for name, text in detectors().items()}
    found |= {name: f"for relprop video: {text}" for name, text in clips().items()}
    if json:
        print_json(found)
        return
    print_table(["model", "what it is"], [[name, text] for name, text in found.items()])
    print_lines(
        "",
        "Others: torchvision:NAME and timm:NAME (list them: relprop models --source torchvision), c3d with",
        "--weights (published layout), or file.py:factory for your own, where factory() returns the module.",
    )
