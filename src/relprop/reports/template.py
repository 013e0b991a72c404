"""Template: the pages of HTML that reports fill in."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

__all__ = ["template"]


def template(name: str) -> Template:
    """A page of the folder `templates`; all words that are put in are escaped, and a missing one is an error.

    >>> template("mistakes.html").name
    'mistakes.html'
    """
    environment = Environment(
        loader=PackageLoader("relprop.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
