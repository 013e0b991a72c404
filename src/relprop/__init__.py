"""relprop: what in the input made a vision network say this?

Relevance propagation that accounts for everything it hands out, or refuses by name.
"""

from __future__ import annotations

from relprop.public import public

__version__ = "0.2.0"

# Imported on first use, so that `import relprop` (and the command's --help) is quick.
__all__ = ["__version__", *public(__name__)]
