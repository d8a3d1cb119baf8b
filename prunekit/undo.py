"""All or nothing: what a block of code changed in Python objects is put back if it fails."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor

_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType)
_LEAVES = (str, bytes, int, float, complex, bool, type, ModuleType, *_FUNCTIONS)
_MAPPINGS = (dict, OrderedDict, defaultdict)


@contextmanager
def undone_on_failure(*roots: Any) -> Iterator[None]:
    """Put ``roots``, and all that they refer to, back as they were if the block raises anything.

    Attributes, dictionaries, lists and sets are put back, and whether tensors require gradients; not the
    values of tensors. That is enough for pruning, which makes new tensors in the place of the old ones. It
    costs no copy of a tensor, but the old ones live until the block ends.
    """
    saved = _saved(roots)
    try:
        yield
    except BaseException:  # an interrupt by the keyboard too
        for thing, before in saved:
            _put_back(thing, before)
        raise


def _saved(roots: tuple[Any, ...]) -> list[tuple[Any, Any]]:
    """Every object that can change, with a shallow copy of what is in it."""
    saved: list[tuple[Any, Any]] = []
    seen: dict[int, Any] = {}  # the objects are kept, so that no other one gets their id
    waiting = list(roots)
    while waiting:
        thing = waiting.pop()
        if thing is None or isinstance(thing, _LEAVES) or id(thing) in seen:
            continue
        seen[id(thing)] = thing
        if isinstance(thing, Tensor):
            saved.append((thing, thing.requires_grad))
            continue
        if type(thing) in _MAPPINGS:
            saved.append((thing, dict(thing)))
            waiting += [*thing.keys(), *thing.values()]
        elif type(thing) in (list, set):
            saved.append((thing, thing.copy()))
            waiting += thing
        elif isinstance(thing, tuple):
            waiting += thing
        inner = getattr(thing, "__dict__", None)
        if type(inner) is dict:
            waiting.append(inner)
    return saved


def _put_back(thing: Any, before: Any) -> None:
    if isinstance(thing, Tensor):
        if thing.requires_grad != before:
            thing.requires_grad_(before)
    elif isinstance(thing, list):
        thing[:] = before
    else:
        thing.clear()
        thing.update(before)
