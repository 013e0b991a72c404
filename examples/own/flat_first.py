"""A method of one's own: relprop explain photo.jpg -m scenes-vgg -x examples/own/flat_first.py:FlatFirst."""

from relprop import Composite
from relprop.methods import Method, Request, Result
from relprop.rules import Flat, ZPlus


class FlatFirst(Method):
    """z+ with equal shares at the first layer."""

    name = "flat-first"

    def explain(self, request: Request) -> Result:
        """Relevance of every target of the request."""
        composite = Composite([("first", Flat()), ("linear", ZPlus())], otherwise="positive", name=self.name)
        return Result.of(request.propagate(request.seed("score"), composite))
