"""Synonyms: what things are called in other libraries and in papers, and what answers to it here.

Spelling alone misleads: the nearest spelling to `lrp-z` is not its family.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["METHODS_ELSEWHERE", "METRICS_ELSEWHERE", "MODELS_ELSEWHERE", "meant"]

_LRP = (
    "The LRP family: lrp-0, lrp-epsilon, lrp-gamma, lrp-alpha-beta, lrp-composite; begin with lrp-composite."
)
_NO_CAM = "relprop has none of the other CAMs; the nearest is grad-cam."
_NO_SURROGATE = (
    "relprop has no method that asks the network about changed inputs (for detectors: d-rise); the nearest is "
    "integrated-gradients, and relprop benchmark judges maps by such changes."
)
_NO_SHAP = "relprop has none; the nearest, which adds up as well, is integrated-gradients."
_NO_DEEPLIFT = (
    "relprop has none; the nearest is lrp-epsilon, or integrated-gradients where a baseline matters."
)

#: A name without dashes, spaces, underscores and capitals -> a sentence.
METHODS_ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(["lrpz", "lrpfamily", "layerwiserelevancepropagation", "lrprule", "lrps"], _LRP),
    "zrule": "It is lrp-0.",
    "lrpe": "It is lrp-epsilon.",
    "epsilon": "It is lrp-epsilon.",
    "epsilonrule": "It is lrp-epsilon.",
    "lrpg": "It is lrp-gamma.",
    "gamma": "It is lrp-gamma.",
    **dict.fromkeys(
        ["alphabeta", "lrpab", "lrpa1b0", "lrpa2b1"], "It is lrp-alpha-beta:alpha=2,beta=1 or alike."
    ),
    **dict.fromkeys(["zplus", "lrpzplus"], "It is lrp-alpha-beta:alpha=1,beta=0, or deep-taylor."),
    **dict.fromkeys(
        ["epsilonplus", "epsilonplusflat", "epsilongammabox", "lrppresets", "lrpcmp", "lrpseqa", "lrpseqb"],
        "It is lrp-composite, whose settings relprop methods lrp-composite lists.",
    ),
    **dict.fromkeys(["attnlrp", "lrpattention", "lrptransformer"], "It is attnlrp."),
    **dict.fromkeys(["dtd", "deeptaylordecomposition"], "It is deep-taylor."),
    **dict.fromkeys(
        ["ig", "integratedgradient", "intgrad", "intgrads", "pathintegratedgradients"],
        "It is integrated-gradients.",
    ),
    **dict.fromkeys(
        [
            "saliency",
            "saliencymap",
            "vanillagradient",
            "vanillagradients",
            "gradients",
            "vanilla",
            "backprop",
            "sensitivity",
        ],
        "It is gradient.",
    ),
    **dict.fromkeys(
        ["inputxgradient", "gradxinput", "gradientinput", "gxi", "inputtimesgradient"],
        "It is gradient-x-input.",
    ),
    **dict.fromkeys(["smoothgradient", "smoothgrads", "sg", "noisetunnel"], "It is smoothgrad."),
    **dict.fromkeys(
        ["guidedbackpropagation", "guidedgradient", "gbp", "guidedrelu", "guided"], "It is guided-backprop."
    ),
    **dict.fromkeys(["deconvolution", "deconv", "deconvolutionalnetwork"], "It is deconvnet."),
    **dict.fromkeys(
        ["gradcam", "layergradcam", "cam", "classactivationmap", "classactivationmapping"], "It is grad-cam."
    ),
    **dict.fromkeys(
        [
            "gradcam++",
            "gradcamplusplus",
            "scorecam",
            "ablationcam",
            "eigencam",
            "layercam",
            "xgradcam",
            "hirescam",
            "fullgrad",
            "eigengradcam",
            "gradcamelementwise",
            "sscam",
            "iscam",
            "smoothgradcam++",
        ],
        _NO_CAM,
    ),
    "guidedgradcam": "relprop has none; make grad-cam and guided-backprop and multiply the maps.",
    **dict.fromkeys(["odamcam", "ddam"], "It is odam."),
    **dict.fromkeys(["drise", "detectorrise"], "It is d-rise."),
    **dict.fromkeys(
        [
            "occlusion",
            "rise",
            "lime",
            "featureablation",
            "ablation",
            "perturbation",
            "meaningfulperturbation",
            "extremalperturbation",
            "extremal",
            "anchors",
            "anchor",
            "featurepermutation",
        ],
        _NO_SURROGATE,
    ),
    **dict.fromkeys(
        [
            "shap",
            "kernelshap",
            "gradientshap",
            "deepshap",
            "deepliftshap",
            "shapleyvalues",
            "shapley",
            "expectedgradients",
            "shapleyvaluesampling",
        ],
        _NO_SHAP,
    ),
    **dict.fromkeys(["deeplift", "rescale", "revealcancel"], _NO_DEEPLIFT),
    **dict.fromkeys(
        ["eb", "ebp", "mwp", "excitation", "excitationbackpropagation"], "It is excitation-backprop."
    ),
    **dict.fromkeys(
        ["ceb", "contrastiveebp", "cmwp", "contrastiveexcitation", "contrastiveeb"],
        "It is contrastive-excitation-backprop.",
    ),
    **dict.fromkeys(
        ["contrastivelrp", "sglrp", "softmaxgradientlrp"], "The nearest is clrp; any method takes --versus."
    ),
    **dict.fromkeys(
        ["rollout", "attentionflow", "attention", "attnrollout"], "The nearest is attention-rollout."
    ),
    **dict.fromkeys(
        ["chefer", "transformerattribution", "cplrp", "transformerlrp"], "The nearest is attnlrp."
    ),
    **dict.fromkeys(["relativesectionalpropagation", "sectional"], "It is rsp."),
    **dict.fromkeys(["relativeattributingpropagation"], "It is rap."),
    **dict.fromkeys(
        ["conceptrelevancepropagation", "concepts", "zennitcrp"],
        "relprop has none (its crp is Contrastive Relevance Propagation); relprop explain --start LAYER explains "
        "a channel.",
    ),
    **dict.fromkeys(["contrastiverelevancepropagation"], "It is crp."),
    **dict.fromkeys(
        ["fullgradient", "fullgradients", "piecewiseaffine", "pwa"],
        "The nearest is affine: weights, and whose bias it is.",
    ),
    **dict.fromkeys(["auto", "default", "best"], "It is recommended."),
}

METRICS_ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(
        ["deletion", "insertion", "pixelflipping", "morf", "lerf", "aopc", "regionperturbation"],
        "It is perturbation.",
    ),
    **dict.fromkeys(["pointing", "pg"], "It is pointing-game."),
    **dict.fromkeys(["ebpg", "energybasedpointinggame", "massaccuracy"], "It is energy."),
    **dict.fromkeys(["iou", "meaniou", "intersectionoverunion"], "It is miou."),
    **dict.fromkeys(["gridpointinggame", "gridpg"], "It is grid-pg."),
    **dict.fromkeys(
        ["sanity", "sanitycheck", "modelrandomisation", "modelrandomization", "randomization", "mprt"],
        "It is randomisation.",
    ),
    **dict.fromkeys(["datarandomization", "randomlabels"], "It is data-randomisation."),
    **dict.fromkeys(["sic", "aic", "informationcurve"], "It is information-curves."),
    **dict.fromkeys(
        ["sensitivity", "sensitivityn", "stability", "localstability"], "The nearest is max-sensitivity."
    ),
    **dict.fromkeys(
        ["faithfulness", "fidelity", "road", "roar"], "The nearest are perturbation and infidelity."
    ),
    **dict.fromkeys(["completeness", "conservation", "sumcheck"], "It is ledger."),
    **dict.fromkeys(["relevancerankaccuracy", "rankaccuracy"], "It is rank-accuracy."),
}

_LIBRARY = re.compile(
    r"(alexnet|vgg|resnet|resnext|wide_?resnet|densenet|squeezenet|googlenet|inception|mobilenet|shufflenet|mnasnet|efficientnet|"
    r"regnet|convnext|vit|swin|maxvit|r3d|mc3|r2plus1d|mvit|s3d|ssd|retinanet|fasterrcnn|fcos|maskrcnn|fcn|deeplab|lraspp|"
    r"deit|beit|eva|mixer|nfnet|rexnet)[\w.]*",
    re.IGNORECASE,
)
_DETECTORS = re.compile(r"(yolo|yolox|detr|rt-?detr|dino|efficientdet|centernet)[\w.-]*", re.IGNORECASE)

MODELS_ELSEWHERE: Mapping[str, str] = {
    "efficientnetlite": "It is efficientnet-lite0.",
    "efficientnetlite0": "It is efficientnet-lite0.",
    "motion": "It is motion-c3d, for relprop video.",
    "scenes": "There are scenes-vgg, scenes-resnet, scenes-vit, and for relprop detect scenes-ssd.",
}


def meant(what: str, name: str) -> str:
    """A sentence on what a name of elsewhere is here; "" where nobody knows.

    Args:
        what: the kind of thing, as a registry calls it: "method".
        name: as it was typed, with or without settings behind a colon.

    >>> meant("method", "Grad CAM"), meant("model", "resnet50")
    ('It is grad-cam.', "A library's model has the library in front: torchvision:resnet50 or timm:resnet50.")
    """
    plain = re.sub(r"[^a-z0-9+]", "", name.partition(":")[0].lower())
    if what in ("model", "detector"):
        return MODELS_ELSEWHERE.get(plain, "") or _of_library(what, name)
    known = {"method": METHODS_ELSEWHERE, "metric": METRICS_ELSEWHERE}.get(what, {})
    return known.get(plain, "")


def _of_library(what: str, name: str) -> str:
    if _DETECTORS.fullmatch(name):
        return (
            "A detector of your own goes by file.py:factory; the page Detectors has one for YOLO, YOLOX, DETR and "
            "RT-DETR."
        )
    if not _LIBRARY.fullmatch(name):
        return ""
    if what == "detector":
        return f"A library's model has the library in front: torchvision:{name}."
    return f"A library's model has the library in front: torchvision:{name} or timm:{name}."
