"""Navigation of the documentation: sections, groups and pages in their order, never more than twelve at once."""

from __future__ import annotations

__all__ = ["SECTIONS", "Entry"]

#: A page, or a group with a title.
Entry = str | tuple[str, list["Entry"]]


def _of(folder: str, names: str) -> list[Entry]:
    return [f"{folder}/{name}.md" for name in names.split()]


_LRP = "lrp-composite lrp lrp-0 lrp-epsilon lrp-gamma lrp-alpha-beta deep-taylor attnlrp"
_CONTRAST = "rsp contrastive-rsp margin-rsp clrp crp excitation-backprop contrastive-excitation-backprop rap"
_GRADIENTS = "gradient gradient-x-input integrated-gradients smoothgrad guided-backprop deconvnet affine"
_MAPS = "grad-cam odam d-rise attention-rollout"
_PLACE = "pointing-game energy rank-accuracy miou segmentation-miou grid-pg odi opposition"
_HIDING = "perturbation information-curves infidelity masking-fidelity removed-parts"
_SANITY = "randomisation data-randomisation max-sensitivity ledger bias-ratio quantus"
_NUMBERS_WHICH = "scenes photographs hiding grid-pg"
_NUMBERS_METHODS = "rsp margin-rsp crp lrp-composite attnlrp affine"
_NUMBERS_ELSE = "measured video video-split"
_NUMBERS: list[Entry] = [
    ("Which method", _of("numbers", _NUMBERS_WHICH)),
    ("One method", _of("numbers", _NUMBERS_METHODS)),
    ("Detections and clips", _of("numbers", _NUMBERS_ELSE)),
    ("Time and memory", _of("numbers", "speed batches benchmark app")),
]
_RULES = "index linear activation pooling merge norm product section influence gradient shape"

#: Pages that are not named here come last, under "More"; tests/test_navigation.py asks that there are none.
SECTIONS: list[tuple[str, list[Entry]]] = [
    (
        "Start",
        ["index.md", "gallery.md", "quickstart.md", "which-method.md", "words.md", "glossary.md", "notebooks.md",
         "app.md", "trust.md", "adds-up.md",
         ("Troubleshooting", ["troubleshooting.md", *_of("troubleshooting", "inputs models results")])],
    ),
    ("I have", _of("tutorials", "classifier detector clips paper audit")),
    (
        "Guides",
        ["many.md", "something-else.md", "facts.md", "video.md", "video-modes.md", "affine.md",
         "reports.md", "report-file.md", "service.md", "from-captum.md",
         ("Detectors", ["detectors.md", "detect.md", "detect-report.md", "measured.md",
                        *_of("detectors", "detr fcos two-stage yolo")])],
    ),
    (
        "Methods",
        ["methods/index.md", "methods/recommended.md", "methods/agreement.md", ("LRP", _of("methods", _LRP)),
         ("Contrasts and sections", _of("methods", _CONTRAST)), ("Gradients", _of("methods", _GRADIENTS)),
         ("Feature maps, masks, attention", _of("methods", _MAPS))],
    ),
    (
        "Judge",
        ["benchmark.md", ("Benchmarks", ["recipes.md", "benchmark-more.md", "cluster.md", "ceilings.md"]),
         "datasets.md", "imagenet-classes.md", "real-pictures.md", "metrics/index.md",
         ("Where the red lies", _of("metrics", _PLACE)), ("What hiding does", _of("metrics", _HIDING)),
         ("Sanity and accounts", _of("metrics", _SANITY)), ("Numbers", _NUMBERS)],
    ),
    (
        "Extend",
        ["write-a-method.md", "write-a-rule.md", "write-a-metric.md", "write-a-data-set.md", "development.md"],
    ),
    (
        "Reference",
        ["command-line.md", "command-line-scripts.md", "python.md", "python-model.md", "compatibility.md",
         ("Coverage", ["coverage.md", "coverage-models.md"]), "speed.md", "versions.md",
         "sources.md",
         ("Rules", _of("rules", _RULES))],
    ),
]  # fmt: skip
