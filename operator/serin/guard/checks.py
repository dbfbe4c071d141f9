"""Whether an answer is what a model may say. Pure.

An answer can be anything, so what it costs is bounded: bytes (payload.py), depth (by the JSON reader), and here the
values that are looked at (budget.py). What goes over the bound is not checked, which is counted, and not called bad.

No message has a value in it: an answer is nobody's business but its client's.
"""

from collections.abc import Iterator
from typing import Any, Final

from serin.api.guard import Check, OutputGuard, Protocol, compiled
from serin.guard.budget import Budget, Search
from serin.guard.schemas import misfit
from serin.guard.shapes import wrong_shape

# How far the sum of probabilities may be off, as 16-bit numbers are.
_ROUNDING: Final = 0.01
_NUMBERS: Final = frozenset({int, float})
_LISTS: Final = {
    Protocol.OPEN_INFERENCE: "outputs",
    Protocol.KSERVE_V1: "predictions",
    Protocol.OPEN_AI: "choices",
}


def problem(answer: Any, guard: OutputGuard) -> str:
    """What is wrong with an answer (JSON), in words; "" when nothing is. Raises budget.Unchecked."""
    budget = Budget()
    search = Search(budget)
    begin, wrong = root(answer, guard.protocol, budget)
    if wrong:
        return wrong
    for check in guard.checks:
        values = search.visit(compiled(check.path).parsed, begin)
        wrong = _wrong_tensor(answer, check, budget) if check.shape else ""
        if wrong := wrong or _wrong(values, check, budget):
            return f"{check.path}: {wrong}"
    found = misfit(answer, guard.schema)
    return f"{found[0] or 'the answer'}: {found[1]}" if found else ""


def root(answer: Any, protocol: Protocol, budget: Budget) -> tuple[Any, str]:
    """What paths begin at, and what is wrong when there is no such thing."""
    if protocol is Protocol.JSON:
        return answer, ""
    name = _LISTS[protocol]
    found = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(found, list):
        return None, f"the answer has no list of {name}"
    if protocol is Protocol.OPEN_AI:
        return (answer, "") if found else (None, "the answer has no choices")
    if protocol is Protocol.KSERVE_V1:
        return found, ""
    budget.take(len(found))
    if not all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in found):
        return None, "one of the outputs has no name"
    return {one["name"]: _rows(one.get("data"), one.get("shape"), budget) for one in found}, ""


def _rows(data: Any, shape: Any, budget: Budget) -> Any:
    """A tensor's numbers, cut into rows where they are one flat list of several."""
    if not (isinstance(data, list) and isinstance(shape, list) and len(shape) > 1 and type(shape[-1]) is int):
        return data
    width = shape[-1]
    if width < 1 or len(data) <= width or isinstance(data[0], list):
        return data
    budget.take(len(data) // width)
    return [data[start : start + width] for start in range(0, len(data), width)]


def _wrong_tensor(answer: Any, check: Check, budget: Budget) -> str:
    """What is wrong with the shape of the output that the path names."""
    name = compiled(check.path).parsed["value"]
    budget.take(len(answer["outputs"]))
    tensor = next((one for one in answer["outputs"][::-1] if one["name"] == name), None)
    if tensor is None or not isinstance(tensor.get("data"), list):
        return "it is not in the answer"
    values = sum(len(row) for row in lists(tensor["data"], budget))
    return wrong_shape(tensor.get("shape"), check.shape, values, budget)


def _wrong(found: Any, check: Check, budget: Budget) -> str:
    if check.shape and not check.is_of_values:
        return ""
    if found is None or found == []:
        return "it is not in the answer"
    for row in lists(found, budget):
        if wrong := _wrong_row(row, check):
            return wrong
    return ""


def lists(found: Any, budget: Budget) -> Iterator[list[Any]]:
    """The innermost values, those of one list together."""
    waiting = [found if isinstance(found, list) else [found]]
    while waiting:
        row = waiting.pop()
        budget.take(len(row) + 1)
        inner = [one for one in row if type(one) is list or type(one) is dict]
        if not inner:
            yield row
            continue
        waiting += [list(one.values()) if isinstance(one, dict) else one for one in inner]
        if rest := [one for one in row if type(one) is not list and type(one) is not dict]:
            yield rest


def _wrong_row(row: list[Any], check: Check) -> str:
    if check.labels:
        return "" if all(type(one) is str and one in check.labels for one in row) else "it is none of the labels"
    if not row:
        return "a list is empty"
    # The JSON reader lets no NaN and nothing infinite pass; servers that write null in their place are common.
    if not _NUMBERS.issuperset(map(type, row)):
        return "there is null where a number belongs" if None in row else "it is no number"
    if check.minimum is not None and min(row) < check.minimum:
        return f"a number is less than {check.minimum:g}"
    if check.maximum is not None and max(row) > check.maximum:
        return f"a number is more than {check.maximum:g}"
    if check.sums_to_one and abs(sum(row) - 1.0) > _ROUNDING:
        return "the numbers do not add up to 1"
    return ""
