"""The public names, each with the module that holds it."""

from relprop.reports.affine import affine as affine
from relprop.reports.clip_conversation import ClipAnswer as ClipAnswer
from relprop.reports.clip_conversation import ClipConversation as ClipConversation
from relprop.reports.depth import affine_depth as affine_depth
from relprop.reports.detection import detection as detection
from relprop.reports.detection_answer import DetectionAnswer as DetectionAnswer
from relprop.reports.detection_answer import DetectionQuestion as DetectionQuestion
from relprop.reports.detection_conversation import DetectionConversation as DetectionConversation
from relprop.reports.doctor import Checkup as Checkup
from relprop.reports.doctor import doctor as doctor
from relprop.reports.html_report import HtmlReport as HtmlReport
from relprop.reports.html_report import html_report as html_report
from relprop.reports.many import pictures as pictures
from relprop.reports.mistakes import mistakes as mistakes
from relprop.reports.pictures import Conversation as Conversation
from relprop.reports.pictures import picture as picture
from relprop.reports.report import Report as Report
from relprop.reports.text import Table as Table
from relprop.reports.toy import affine_toy as affine_toy
from relprop.reports.video import clip_size as clip_size
from relprop.reports.video import video as video

__all__: list[str]
