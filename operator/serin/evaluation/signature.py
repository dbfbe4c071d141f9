"""Whether requests that fit one signature fit another one too: the first difference that breaks a client, in words.

Clients send every input of the version before, and read its outputs. So a new version takes the same inputs, each with
the same type and at least the sizes; it answers with every output, with no other sizes; it may have more outputs.
"""

from collections.abc import Callable, Iterable

from serin.api.signature import Signature, Tensor, in_words

_ANY = -1


def incompatibility(before: Signature, now: Signature, called: str) -> str:
    """How clients of `before` would first notice; "" when they do not. `called`: what `before` is called."""
    known = {one.name for one in before.inputs}
    new = next((one for one in now.inputs if one.name not in known), None)
    return (
        _first_change("input", before.inputs, now.inputs, _covers, called)
        or (f"input {new.name} ({in_words(new)}) is new: {called} has no such input" if new else "")
        or _first_change("output", before.outputs, now.outputs, lambda there, one: _covers(one, there), called)
    )


def _first_change(
    kind: str, before: Iterable[Tensor], now: Iterable[Tensor], fits: Callable[[Tensor, Tensor], bool], called: str
) -> str:
    """`fits`: whether the sizes of the tensor that is there now are right for those of the one before."""
    found = {one.name: one for one in now}
    for one in before:
        there = found.get(one.name)
        if there is None:
            return f"{kind} {one.name} is gone ({called} has it: {in_words(one)})"
        if there.datatype != one.datatype or not fits(there, one):
            return f"{kind} {one.name} is {in_words(there)}, {called} has {in_words(one)}"
    return ""


def _covers(wide: Tensor, narrow: Tensor) -> bool:
    """Whether everything of `narrow`'s sizes has `wide`'s."""
    same = len(wide.shape) == len(narrow.shape)
    return same and all(one in (_ANY, other) for one, other in zip(wide.shape, narrow.shape, strict=True))
