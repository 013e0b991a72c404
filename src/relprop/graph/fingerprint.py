"""Fingerprint: what a captured graph depends on besides values."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["fingerprint", "owner_of"]


def owner_of(model: nn.Module) -> nn.Module:
    """The module whose graphs `model` uses: itself, or the one it names as `graphs_of`."""
    owner: nn.Module = vars(model).get("graphs_of", model)
    return owner


_PLAIN = frozenset({bool, int, float, str, type(None)})


def fingerprint(model: nn.Module, owner: nn.Module) -> int:
    """What the graph depends on besides values: modules, modes, plain attributes, hooks, ties.

    A module that shares the graphs of an owner goes by the owner's identity and buffers. Runs before every
    explanation, hence without detours.
    """
    facts: list[Any] = []
    add = facts.append
    for path, module in model.named_modules(remove_duplicate=False):
        state = vars(module)
        if module is model and owner is not model:
            add((path, id(owner), type(module)))
            state = {k: v for k, v in state.items() if k != "graphs_of"}
            state |= {k: vars(owner)[k] for k in ("_buffers", "_non_persistent_buffers_set")}
        else:
            add((path, id(module), type(module)))
        for name, value in state.items():
            kind = type(value)
            if kind in _PLAIN:
                add((name, value))
            elif isinstance(value, dict):
                if value:  # parameters, buffers, modules, hooks: identities tell tied from equal ones
                    add((name, tuple(map(str, value)), tuple(map(id, value.values()))))
            elif kind is tuple or kind is list:
                add((name, tuple(v if type(v) in _PLAIN else id(v) for v in value)))
            else:
                add((name, id(value)))
    return hash(tuple(facts))
