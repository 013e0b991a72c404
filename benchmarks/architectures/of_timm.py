"""timm: every module by its smallest member, and by more where members differ in their operators."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from benchmarks.architectures.case import Case, Entry, NotBuiltError, case, library

__all__ = ["entries"]

MEMBERS: dict[str, tuple[str, ...]] = {
    "beit": ("beit_base_patch16_224", "beitv2_base_patch16_224"),
    "byoanet": ("botnet26t_256", "lambda_resnet26t", "eca_halonext26ts"),
    "byobnet": (
        "test_byobnet", "mobileone_s1", "repvgg_a0", "gernet_s", "eca_resnext26ts", "gcresnext26ts",
        "bat_resnext26ts", "regnetz_b16", "resnet50_mlp",
    ),
    "cait": ("cait_xxs24_224",),
    "coat": ("coat_lite_tiny", "coat_tiny"),
    "convit": ("convit_tiny",),
    "convmixer": ("convmixer_768_32",),
    "convnext": ("test_convnext2", "test_convnext", "test_convnext3", "convnextv2_atto", "convnext_zepto_rms"),
    "cpubone": ("cpubone_nano",),
    "crossvit": ("crossvit_tiny_240", "crossvit_9_dagger_240"),
    "csatv2": ("csatv2",),
    "cspnet": ("cs3darknet_focus_s", "cspresnet50", "darknet17", "cs3sedarknet_l"),
    "cspnext": ("cspnext_tiny",),
    "davit": ("davit_tiny",),
    "deepseek_vit": ("deepseek_vit_412m",),
    "deit": ("deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "deit3_small_patch16_224"),
    "densenet": ("densenet121", "densenetblur121d"),
    "dla": ("dla46_c", "dla60_res2net", "dla46x_c"),
    "dpn": ("dpn48b", "dpn68"),
    "edgenext": ("edgenext_xx_small",),
    "efficientformer": ("efficientformer_l1",),
    "efficientformer_v2": ("efficientformerv2_s0",),
    "efficientnet": (
        "test_efficientnet", "test_efficientnet_gn", "test_efficientnet_ln", "test_efficientnet_evos",
        "tf_efficientnet_b0", "efficientnet_lite0", "mixnet_s", "tinynet_e", "mnasnet_small",
        "efficientnetv2_rw_t", "mobilenetv2_035",
    ),
    "efficientvim": ("efficientvim_m1", "efficientvim_m1_dist"),
    "efficientvit_mit": ("efficientvit_b0",),
    "efficientvit_msra": ("efficientvit_m0",),
    "eva": ("vit_tiny_patch16_dinov3_qkvb", "eva02_tiny_patch14_224", "vit_pe_core_tiny_patch16_384"),
    "fasternet": ("fasternet_t0",),
    "fastvit": ("fastvit_t8", "fastvit_sa12"),
    "focalnet": ("focalnet_tiny_srf",),
    "gcvit": ("gcvit_xxtiny",),
    "gemma4_vit": ("gemma4_vit_167m",),
    "ghostnet": ("ghostnet_050", "ghostnetv2_100", "ghostnetv3_050"),
    "hardcorenas": ("hardcorenas_a",),
    "hgnet": ("hgnetv2_b0", "hgnet_tiny"),
    "hiera": ("hiera_tiny_224",),
    "hieradet_sam2": ("sam2_hiera_tiny",),
    "hrnet": ("hrnet_w18_small",),
    "iformer": ("iformer_t",),
    "inception_next": ("inception_next_atto",),
    "inception_resnet_v2": ("inception_resnet_v2",),
    "inception_v3": ("inception_v3",),
    "inception_v4": ("inception_v4",),
    "lcnetv2": ("lcnetv2_small",),
    "levit": ("levit_128s", "levit_conv_128s"),
    "lowformer": ("lowformer_b0",),
    "mambaout": ("test_mambaout", "mambaout_kobe"),
    "maxxvit": ("test_coatnet", "test_maxvit", "coatnext_nano_rw_224", "maxxvit_rmlp_nano_rw_256"),
    "metaformer": ("poolformer_s12", "poolformerv2_s12", "convformer_s18", "caformer_s18"),
    "mlp_mixer": ("mixer_s32_224", "gmlp_ti16_224", "resmlp_12_224", "gmixer_12_224"),
    "mobilenetv3": (
        "mobilenetv3_small_050", "lcnet_035", "mobilenetv4_conv_small", "mobilenetv4_hybrid_medium", "fbnetv3_b",
    ),
    "mobilenetv5": ("mobilenetv5_300m",),
    "mobilevit": ("mobilevit_xxs", "mobilevitv2_050"),
    "mvitv2": ("mvitv2_tiny", "mvitv2_small_cls"),
    "naflexvit": ("naflexvit_base_patch16_gap",),
    "nasnet": ("nasnetalarge",),
    "nest": ("nest_tiny", "nest_tiny_jx"),
    "nextvit": ("nextvit_small",),
    "nfnet": ("test_nfnet", "nf_regnet_b0", "nf_resnet26", "dm_nfnet_f0"),
    "pit": ("pit_ti_224", "pit_ti_distilled_224"),
    "pnasnet": ("pnasnet5large",),
    "pvt_v2": ("pvt_v2_b0", "pvt_v2_b2_li"),
    "qwen3_vit": ("qwen3_vit_88m",),
    "rdnet": ("rdnet_tiny",),
    "regnet": ("regnetx_002", "regnety_002"),
    "repghost": ("repghostnet_050",),
    "repvit": ("repvit_m0_9",),
    "res2net": ("res2net50_48w_2s", "res2next50"),
    "resnest": ("resnest14d",),
    "resnet": (
        "test_resnet", "resnet10t", "resnetblur18", "ecaresnet26t", "seresnet18", "resnext26ts", "resnetrs50",
    ),
    "resnetv2": ("resnetv2_18", "resnetv2_50d_evos", "resnetv2_50d_frn", "resnetv2_50x1_bit"),
    "rexnet": ("rexnet_100", "rexnetr_100"),
    "selecsls": ("selecsls42",),
    "senet": ("legacy_seresnet18",),
    "sequencer": ("sequencer2d_s",),
    "shvit": ("shvit_s1",),
    "sknet": ("skresnet18",),
    "starnet": ("starnet_s050",),
    "swiftformer": ("swiftformer_xs",),
    "swin_transformer": ("swin_tiny_patch4_window7_224", "swin_s3_tiny_224"),
    "swin_transformer_v2": ("swinv2_tiny_window8_256",),
    "swin_transformer_v2_cr": ("swinv2_cr_tiny_224", "swinv2_cr_tiny_ns_224"),
    "tiny_vit": ("tiny_vit_5m_224",),
    "tnt": ("tnt_s_patch16_224", "tnt_s_legacy_patch16_224"),
    "tresnet": ("tresnet_m", "tresnet_v2_l"),
    "twins": ("twins_svt_small", "twins_pcpvt_small"),
    "vgg": ("vgg11", "vgg11_bn"),
    "visformer": ("visformer_tiny",),
    "vision_transformer": (
        "test_vit", "test_vit2", "test_vit3", "test_vit4", "vit_tiny_patch16_224", "vit_small_patch14_dinov2",
        "vit_base_patch16_siglip_224", "vit_base_patch16_clip_224",
    ),
    "vision_transformer_hybrid": ("vit_tiny_r_s16_p8_224",),
    "vision_transformer_relpos": ("test_vit_relpos", "vit_srelpos_small_patch16_224"),
    "vision_transformer_sam": ("samvit_base_patch16_224",),
    "vitamin": ("vitamin_small_224",),
    "volo": ("volo_d1_224",),
    "vovnet": ("ese_vovnet19b_slim_dw", "vovnet39a"),
    "xception": ("legacy_xception",),
    "xception_aligned": ("xception41", "xception41p"),
    "xcit": ("xcit_nano_12_p16_224",),
}  # fmt: skip
"""Members by module."""

_ONE: dict[str, Any] = {"depths": (1, 1, 1, 1)}
_TWO: dict[str, Any] = {"depths": (2, 2, 2, 2)}
_LAYERS: dict[str, Any] = {"layers": (1, 1, 1, 1)}
_FEW: dict[str, Any] = {"depth": 2}

SHORTER: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("cait_*", "deit*", "beit*", "tnt_*", "xcit_*", "visformer_*", "vit_*", "eva02_*"), _FEW),
    **dict.fromkeys(("deepseek_*", "gemma4_*", "naflexvit_*", "qwen3_*"), _FEW),
    "samvit_*": {"depth": 2, "global_attn_indexes": (1,)},
    "vit_tiny_r_*": {},
    **dict.fromkeys(("swin*", "davit_*", "tiny_vit_*", "twins_*", "mambaout_*", "inception_next_*"), _TWO),
    **dict.fromkeys(("convnextv2_atto", "edgenext_*", "fasternet_*", "lcnetv2_*"), _ONE),
    **dict.fromkeys(("coatnext_*", "maxxvit_*", "pvt_v2_*", "nf_*", "dm_nfnet_*", "efficientvit_b0"), _ONE),
    **dict.fromkeys(("res2net50*", "res2next50", "resnetblur18", "ecaresnet26t", "seresnet18"), _LAYERS),
    **dict.fromkeys(("resnetrs50", "fastvit_*", "sequencer2d_*", "swiftformer_*", "skresnet18"), _LAYERS),
    "efficientvim_*": {"depths": (1, 1, 1)},
    "shvit_*": {"depth": (1, 1, 1)},
    "vitamin_*": {},
    "hiera_*": {"stages": (1, 1, 1, 1)},
    "pit_*": {"depth": (1, 1, 1)},
    "levit_*": {"depth": (1, 1, 1)},
}
"""What constructors are told so that they repeat the same blocks less often. The last match holds."""

SIDES = (64, 96, 128, 160, 192, 224, 256, 288, 320, 384)


def entries(every: bool) -> Iterator[Entry]:
    """An entry a module, of its first member, or of all that are listed."""
    try:
        timm = library("timm")
    except NotBuiltError as error:
        yield Entry("timm", "timm", _none(error))
        return
    there = {module: timm.list_models(module=module) for module in timm.list_modules()}
    for module in sorted({*MEMBERS, *there}):
        listed = MEMBERS.get(module) or tuple(there[module])
        for name in listed if every else listed[:1]:
            told = [short for pattern, short in SHORTER.items() if fnmatchcase(name, pattern)]
            yield Entry("timm", name, _builder(name, told[-1] if told else {}), group=module)


def _none(error: NotBuiltError) -> Any:
    def build() -> Case:
        raise error

    return build


def _builder(name: str, told: dict[str, Any]) -> Any:
    def build() -> Case:
        model, size = smallest(name, told)
        return case(model, size)

    return build


def smallest(name: str, told: dict[str, Any]) -> tuple[nn.Module, tuple[int, int, int]]:
    """A member of timm, made for the smallest square that it takes.

    Raises:
        NotBuiltError: timm doesn't know it, or it takes none.
    """
    timm = library("timm")
    if not timm.is_model(name):
        raise NotBuiltError(f"timm {timm.__version__} has no {name}")
    last: Exception | None = None
    for side in SIDES:
        for more in ({"img_size": side}, {}):
            torch.manual_seed(0)
            try:
                model = timm.create_model(name, pretrained=False, num_classes=10, **told, **more).eval()
                with torch.no_grad():
                    found = model(torch.zeros(2, 3, side, side))
            except Exception as error:
                last = error
                continue
            if found.ndim == 2 or side >= 224:
                return model, (3, side, side)
    raise NotBuiltError(f"{name} takes no square: {type(last).__name__}: {last}")
