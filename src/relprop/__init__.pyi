"""The public names, each with the module that holds it: the only list of them.

`relprop.__getattr__` reads it, so that a name is imported when it is first used.
"""

from relprop import benchmark as benchmark
from relprop import captum as captum
from relprop import datasets as datasets
from relprop import detectors as detectors
from relprop import metrics as metrics
from relprop import models as models
from relprop import piecewise as piecewise
from relprop import quantus as quantus
from relprop import reports as reports
from relprop import rules as rules
from relprop import video as video
from relprop import viz as viz
from relprop.detectors.d_rise import DRISE as DRISE
from relprop.detectors.explain import explain_detection as explain_detection
from relprop.explanation import Explanation as Explanation
from relprop.explanation.coverage import inspect as inspect
from relprop.explanation.explain import explain as explain
from relprop.graph import clear_cache as clear_cache
from relprop.many.explain_many import explain_many as explain_many
from relprop.methods.affine import Affine as Affine
from relprop.methods.agreement import Agreement as Agreement
from relprop.methods.attention_rollout import AttentionRollout as AttentionRollout
from relprop.methods.attn_lrp import AttnLRP as AttnLRP
from relprop.methods.bounds import pixel_bounds as pixel_bounds
from relprop.methods.clrp import CLRP as CLRP
from relprop.methods.crp import CRP as CRP
from relprop.methods.deep_taylor import DeepTaylor as DeepTaylor
from relprop.methods.excitation_backprop import ContrastiveExcitationBackprop as ContrastiveExcitationBackprop
from relprop.methods.excitation_backprop import ExcitationBackprop as ExcitationBackprop
from relprop.methods.grad_cam import GradCAM as GradCAM
from relprop.methods.gradient import Gradient as Gradient
from relprop.methods.gradient import GradientXInput as GradientXInput
from relprop.methods.gradient import SmoothGrad as SmoothGrad
from relprop.methods.guided_backprop import DeconvNet as DeconvNet
from relprop.methods.guided_backprop import GuidedBackprop as GuidedBackprop
from relprop.methods.integrated_gradients import IntegratedGradients as IntegratedGradients
from relprop.methods.lrp import LRP as LRP
from relprop.methods.lrp import LRP0 as LRP0
from relprop.methods.lrp import LRPAlphaBeta as LRPAlphaBeta
from relprop.methods.lrp import LRPComposite as LRPComposite
from relprop.methods.lrp import LRPEpsilon as LRPEpsilon
from relprop.methods.lrp import LRPGamma as LRPGamma
from relprop.methods.margin_rsp import MarginRSP as MarginRSP
from relprop.methods.odam import ODAM as ODAM
from relprop.methods.package import methods as methods
from relprop.methods.rap import RAP as RAP
from relprop.methods.rsp import RSP as RSP
from relprop.methods.rsp import ContrastiveRSP as ContrastiveRSP
from relprop.piecewise.decomposition import affine as affine
from relprop.piecewise.form import AffineForm as AffineForm
from relprop.propagate.composite import Composite as Composite
from relprop.propagate.composite import Depth as Depth
from relprop.propagate.trace import Trace as Trace
from relprop.propagate.trace import trace as trace
from relprop.tracing.limit import memory_limit as memory_limit
from relprop.video.separate import separate_motion as separate_motion

__version__: str
__all__: list[str]
