"""The public names, each with the module that holds it."""

from relprop.explanation.explanation import Explanation as Explanation
from relprop.explanation.sheet import contact_sheet as contact_sheet

__all__: list[str]
