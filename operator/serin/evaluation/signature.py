"""Whether requests that fit one signature fit another one too: the first difference that breaks a client, in words.

Clients send every input of the version before, and read its outputs. So a new version takes the same inputs, each with
the same type and at least the sizes; it answers with every output, with no other sizes; it may have more outputs.
"""

from serin.api.signature import Signature, Tensor, in_words

_ANY = -1


def incompatibility(before: Signature, now: Signature, called: str) -> str:
    """How clients of `before` would first notice; "" when they do not. `called`: what `before` is called."""
    return _inputs(before, now, called) or _outputs(before, now, called)


def _inputs(before: Signature, now: Signature, called: str) -> str:
    taken = {one.name: one for one in now.inputs}
    for one in before.inputs:
        there = taken.get(one.name)
        if there is None:
            return f"input {one.name} is gone ({called} has it: {in_words(one)})"
        if there.datatype != one.datatype or not _covers(there, one):
            return f"input {one.name} is {in_words(there)}, {called} has {in_words(one)}"
    known = {one.name for one in before.inputs}
    new = next((one for one in now.inputs if one.name not in known), None)
    return f"input {new.name} ({in_words(new)}) is new: {called} has no such input" if new else ""


def _outputs(before: Signature, now: Signature, called: str) -> str:
    given = {one.name: one for one in now.outputs}
    for one in before.outputs:
        there = given.get(one.name)
        if there is None:
            return f"output {one.name} is gone ({called} has it: {in_words(one)})"
        if there.datatype != one.datatype or not _covers(one, there):
            return f"output {one.name} is {in_words(there)}, {called} has {in_words(one)}"
    return ""


def _covers(wide: Tensor, narrow: Tensor) -> bool:
    """Whether everything of `narrow`'s sizes has `wide`'s."""
    same = len(wide.shape) == len(narrow.shape)
    return same and all(one in (_ANY, other) for one, other in zip(wide.shape, narrow.shape, strict=True))
