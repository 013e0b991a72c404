"""Registry: things of one kind by name, ours from a table and the user's own as `file.py:Name`.

Nothing here imports what a table names before it is asked for, so that listing stays quick.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from inspect import Parameter
from typing import Any, Generic, TypeVar

from relprop.checks import check_spelling
from relprop.errors import InputError, UnknownNameError, unknown_name
from relprop.files import regular_file
from relprop.own_file import FILE_FORM, from_file, left, split_file, split_settings_off
from relprop.synonyms import meant
from relprop.written import own_settings, own_summary

__all__ = ["Registry", "Specifications", "check_settings", "parameters", "slug", "split_settings"]

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Names of one kind of thing, each with the place where it is defined.

    As a mapping it gives name -> thing. A thing's module is imported when the thing is asked for.

    Args:
        what: the kind in words, for errors: "method".
        places: name -> "module:Name"; or ("module:Name", "summary") where the thing itself has no `summary`.

    >>> tools = Registry("tool", {"slug": ("relprop.registry:slug", "a file name")})
    >>> list(tools), tools["slug"]("a:b=1"), tools.summary("slug")
    (['slug'], 'a_b-1', 'a file name')
    >>> tools.find("slog")
    Traceback (most recent call last):
    ...
    relprop.errors.UnknownNameError: Expected a known tool but got 'slog'. Did you mean 'slug'? Valid: \
file.py:Name, slug.
    """

    def __init__(self, what: str, places: Mapping[str, str | tuple[str, str]]) -> None:
        self.what = what
        self._places = {name: place if isinstance(place, str) else place[0] for name, place in places.items()}
        self._summaries = {name: place[1] for name, place in places.items() if not isinstance(place, str)}

    def __getitem__(self, name: str) -> T:
        module, _, own = self._places[name].partition(":")
        return getattr(import_module(module), own)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __repr__(self) -> str:
        return f"Registry({self.what!r}: {', '.join(self)})"

    def find(self, name: str) -> Any:
        """The thing of a name, or the user's own of `file.py:Name`.

        Raises:
            UnknownNameError: neither; lists the valid names.
            InputError: no such file.
            RelpropError: the file's own code raised.
        """
        if name in self._places:
            return self[name]
        own = split_file(name)
        if own is None:
            raise unknown_name(self.what, name, [*self, FILE_FORM], meant(self.what, name))
        return from_file(*own)

    def summary(self, name: str) -> str:
        """One line about a thing. Read from its source, without importing it."""
        if name not in self._summaries:
            written = own_summary(*self._places[name].split(":"))
            if written is None:
                thing: Any = self[name]
                written = str(thing.summary)
            self._summaries[name] = written
        return self._summaries[name]

    def summaries(self) -> dict[str, str]:
        """Name -> one line about the thing."""
        return {name: self.summary(name) for name in self}

    def settings(self, name: str) -> dict[str, Any]:
        """Setting -> its default, or "needed": arguments of a class, keyword-only ones of a function.

        Those of ours are read from their source, without importing it.
        """
        return {k: "needed" if v is Parameter.empty else v for k, v in self._defaults(name).items()}

    def check(self, text: str) -> None:
        """Refuse what can't be meant by `name:key=value,...`, as `find` and `make` would, but import nothing.

        Values of settings, and what stands in a file of the user's own, are left to them.

        Raises:
            UnknownNameError: no thing, or no setting, of that name; lists the valid ones.
            InputError: no such file, a setting without "=", or one that is missing.
        """
        name, given = split_settings(text, self.what)
        own = None if name in self._places else split_file(name)
        if own is not None:
            regular_file(own[0], "a Python file")
            return
        known = self._defaults(name)
        check_spelling(name, given, known)
        check_settings(name, given, known)

    def _defaults(self, name: str) -> dict[str, Any]:
        written = own_settings(*self._places[name].split(":")) if name in self._places else None
        if written is not None:
            return written
        found = self.find(name)
        taken = parameters(found).items()
        return {k: p.default for k, p in taken if isinstance(found, type) or p.kind is p.KEYWORD_ONLY}

    def make(self, name: str, settings: Mapping[str, Any], kind: Callable[..., Any] | None = None) -> Any:
        """The thing of a name, called with settings.

        Args:
            name: of the registry, or `file.py:Name`.
            settings: by name.
            kind: what to call instead, such as the thing with its first arguments filled in.

        Raises:
            UnknownNameError: no thing, or no setting, of that name; lists the valid ones.
            InputError: a setting is missing, or what the thing itself refuses.
            RelpropError: its own code called `sys.exit`.
        """
        kind = self.find(name) if kind is None else kind
        known = parameters(kind)
        check_spelling(name, settings, known)
        check_settings(name, settings, {key: parameter.default for key, parameter in known.items()})
        try:
            return kind(**settings)
        except InputError:
            raise
        except SystemExit as error:
            raise left(f"Making {name}", error) from error
        except (TypeError, ValueError) as error:
            said = ", ".join(f"{key}={value!r}" for key, value in settings.items())
            raise InputError(f"Expected settings that {name} accepts but got '{said}': {error}.") from error


class Specifications:
    """What can name a model: names of registries, and forms such as `torchvision:NAME`.

    Args:
        what: the kind in words, for errors: "model".
        registries: whose names are specifications.
        forms: others, as they are shown: a word, `library:NAME` or `file.py:factory`.

    >>> tools = Specifications("tool", [Registry("tool", {"slug": "relprop.registry:slug"})], ["shop:NAME"])
    >>> tools.check("shop:hammer")
    >>> tools.check("shed:hammer")
    Traceback (most recent call last):
    ...
    relprop.errors.UnknownNameError: Expected a known tool but got 'shed:hammer'. Valid: shop:NAME, slug.
    """

    def __init__(self, what: str, registries: Sequence[Registry[Any]], forms: Sequence[str]) -> None:
        self.what = what
        self.forms = tuple(forms)
        self._registries = tuple(registries)

    def __iter__(self) -> Iterator[str]:
        """Names and forms, as they are shown."""
        return iter([*(name for one in self._registries for name in one), *self.forms])

    def unknown(self, spec: str) -> UnknownNameError:
        """The error for a specification that is none; it lists what there is."""
        return unknown_name(self.what, spec, self, meant(self.what, spec))

    def check(self, spec: str) -> None:
        """Refuse what can't name anything, without importing or running anything.

        What a library doesn't have is left to it, and what a file doesn't hold to the file.

        Raises:
            UnknownNameError: no such name, and none of the forms.
            InputError: no such file.
        """
        kind, colon, _ = spec.rpartition(":")
        if colon and kind.endswith(".py"):
            regular_file(kind, "a Python file")
        elif spec not in self and f"{kind}{colon}NAME" not in self.forms:
            raise self.unknown(spec)


def check_settings(owner: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse a setting that isn't there, and the lack of one that has no default (`inspect.Parameter.empty`).

    Raises:
        UnknownNameError: no setting of that name; lists the valid ones.
        InputError: a setting is missing.
    """
    for key in given:
        if key not in defaults:
            raise unknown_name(f"setting of {owner}", key, defaults)
    for key, default in defaults.items():
        if default is inspect.Parameter.empty and key not in given:
            raise InputError(f"Expected the setting {key!r} of {owner} but it is missing.")


def parameters(kind: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The settings that a class or function takes, by name."""
    own = inspect.signature(kind).parameters.values()
    return {p.name: p for p in own if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def split_settings(text: str, what: str = "method") -> tuple[str, dict[str, Any]]:
    """The name and the settings of `name:key=value,key=value`; values are Python literals, or else text.

    The name may be `file.py:Name`.

    Raises:
        InputError: a setting without "=".

    >>> split_settings("naive:slice=first,clamp=True")
    ('naive', {'slice': 'first', 'clamp': True})
    >>> split_settings("own/ig.py:captum_ig:steps=20")
    ('own/ig.py:captum_ig', {'steps': 20})
    """
    name, settings = split_settings_off(text)
    return name, dict(_pair(part, text, what) for part in _parts(settings))


def slug(text: str) -> str:
    """A file name for a name with settings, of at most 120 characters.

    >>> slug("lrp-alpha-beta:alpha=2,bounds=(0, 1)")
    'lrp-alpha-beta_alpha-2_bounds-0_1'
    """
    found = "_".join(p for p in re.split(r"[^\w.+-]+", text.replace("=", "-").replace("-(", "-")) if p)
    return found if len(found) <= 120 else f"{found[:100]}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _parts(settings: str) -> list[str]:
    # At commas outside of brackets: bounds=(0,1),alpha=2
    parts = re.split(r",(?![^(\[{]*[)\]}])", settings)
    return [part.strip() for part in parts if part.strip()]


def _pair(part: str, text: str, what: str) -> tuple[str, Any]:
    key, equals, value = part.partition("=")
    if not equals:
        raise InputError(f"Expected a {what} as name:key=value,key=value but got {text!r}.")
    try:
        return key.strip().replace("-", "_"), ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        return key.strip().replace("-", "_"), value.strip()
