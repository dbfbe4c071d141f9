"""Whether a request is one that a model can answer. Pure.

A client can send anything, so what it costs is bounded as for answers (budget.py), and what cannot be read is not
called invalid. No message has a value in it, nor a name that the spec has not.
"""

from dataclasses import dataclass
from typing import Any, Final, NoReturn

from serin.api.guard import Protocol, compiled
from serin.api.guard_inputs import Column, InputGuard, Type
from serin.guard.budget import Budget, Search, Unchecked
from serin.guard.schemas import misfit
from serin.guard.shapes import wrong_shape

_TYPES: Final = {
    Type.NUMBER: (frozenset({int, float}), "a value is no number"),
    Type.INTEGER: (frozenset({int, float}), "a value is no whole number"),
    Type.TEXT: (frozenset({str}), "a value is no text"),
    Type.BOOLEAN: (frozenset({bool}), "a value is neither true nor false"),
}
_NUMBERS: Final = _TYPES[Type.NUMBER][0]
_MISSING: Final = "a value is missing"
# A tensor whose data are not in the JSON, but behind it or in shared memory.
_ELSEWHERE: Final = ("binary_data_size", "shared_memory_region")


@dataclass(frozen=True, slots=True)
class Invalid:
    """What is wrong. `field`: as the spec calls it, or the part of the protocol; both are words of no request."""

    field: str
    reason: str


class _Found(Exception):
    """Something is wrong."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.what = Invalid(field, reason)


def invalid(request: Any, guard: InputGuard) -> Invalid | None:
    """What is wrong with a request (JSON), None when nothing is. Raises budget.Unchecked."""
    budget = Budget()
    try:
        if guard.protocol is Protocol.OPEN_INFERENCE:
            _check_tensors(request, guard, budget)
        elif guard.protocol is Protocol.OPEN_AI:
            _check_parameters(request, guard, budget)
        elif guard.columns or guard.rows is not None:
            _check_rows(request, guard, budget)
    except _Found as found:
        return found.what
    unfit = misfit(request, guard.schema)
    return Invalid(unfit[0] or "request", unfit[1]) if unfit else None


def _check_rows(request: Any, guard: InputGuard, budget: Budget) -> None:
    if guard.protocol is Protocol.JSON:
        place = guard.path or "request"
        found = Search(budget).visit(compiled(guard.path).parsed, request) if guard.path else request
    else:
        place, found = _v1(request)
    if isinstance(found, dict) and guard.protocol is Protocol.KSERVE_V1:
        _check_named_lists(found, place, guard, budget)
        return
    rows = [found] if isinstance(found, dict) else found
    if not isinstance(rows, list):
        raise _Found(place, "there are no rows")
    _check_count(len(rows), place, guard)
    for column in guard.columns:
        budget.take(len(rows))
        _check_values([_cell(row, column) for row in rows], column, budget)


def _v1(request: Any) -> tuple[str, Any]:
    """Where the rows are in a request of KServe V1: one by one as instances, or column by column as inputs."""
    body = request if isinstance(request, dict) else {}
    place = "instances" if "instances" in body or "inputs" not in body else "inputs"
    found = body.get(place)
    if not isinstance(found, list) and not (place == "inputs" and isinstance(found, dict)):
        raise _Found(place, "it is missing, or no list")
    return place, found


def _check_named_lists(found: dict[str, Any], place: str, guard: InputGuard, budget: Budget) -> None:
    """Columns that come as a list each."""
    budget.take(len(found))
    _check_count(max((len(one) for one in found.values() if isinstance(one, list)), default=0), place, guard)
    for column in guard.columns:
        if column.index is not None:
            raise _Found(column.label, "the columns have names, and this one is known by its place")
        values = found.get(column.name)
        _check_values(values if isinstance(values, list) else [values], column, budget)


def _cell(row: Any, column: Column) -> Any:
    """The value of a column in a row, None when it is not there."""
    if column.index is None:
        if type(row) is not dict:
            raise _Found(column.label, "a row has no names of columns")
        return row.get(column.name)
    if type(row) is dict:
        raise _Found(column.label, "a row is no list")
    cells = row if type(row) is list else [row]
    return cells[column.index] if column.index < len(cells) else None


def _check_parameters(request: Any, guard: InputGuard, budget: Budget) -> None:
    """Of a completion the fields are the columns, and its rows are messages of a chat, or prompts."""
    if not isinstance(request, dict):
        raise _Found("request", "it is no object")
    messages: Any = request.get("messages")
    prompt: Any = request.get("prompt")
    if "messages" in request and not isinstance(messages, list):
        raise _Found("messages", "it is no list")
    _check_count(len(messages or ()), "messages", guard)
    # One prompt can be a text, or the numbers of its tokens.
    many = isinstance(prompt, list) and bool(prompt) and type(prompt[0]) is not int
    _check_count(len(prompt) if many else 1, "prompt", guard)
    for column in guard.columns:
        _check_values([request.get(column.name)], column, budget)


def _check_tensors(request: Any, guard: InputGuard, budget: Budget) -> None:
    found = request.get("inputs") if isinstance(request, dict) else None
    if not isinstance(found, list):
        raise _Found("inputs", "it is missing, or no list")
    budget.take(len(found))
    tensors: dict[str, Any] = {}
    for one in found:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            raise _Found("inputs", "one of them has no name")
        tensors[one["name"]] = one
    if guard.rows is not None:
        _check_count(max((_rows_of(one) for one in found), default=0), "inputs", guard)
    for column in guard.columns:
        tensor = tensors.get(column.name)
        if tensor is not None:
            _check_tensor(tensor, column, budget)
        elif not column.missing:
            raise _Found(column.label, "it is missing")


def _rows_of(tensor: Any) -> int:
    """Rows of a tensor: what its shape says, or what its data show when that is more."""
    shape, data = tensor.get("shape"), tensor.get("data")
    said = shape[0] if isinstance(shape, list) and shape and type(shape[0]) is int else 0
    many = isinstance(data, list) and (said == 0 or (bool(data) and isinstance(data[0], list)))
    return max(said, len(data) if many else 0)


def _check_tensor(tensor: Any, column: Column, budget: Budget) -> None:
    shape = tensor.get("shape")
    budget.take(len(shape) if isinstance(shape, list) else 0)
    if not isinstance(shape, list) or not all(type(one) is int and one >= 0 for one in shape):
        raise _Found(column.label, "it has no valid shape")
    values = _flat(tensor, column, budget)
    if column.shape and (wrong := wrong_shape(shape, column.shape, len(values), budget)):
        raise _Found(column.label, wrong)
    if column.index is None:
        _check_values(values, column, budget)
        return
    width = shape[-1] if len(shape) > 1 else 1
    if width <= column.index or len(values) % width:
        raise _Found(column.label, "a row of it is too short")
    _check_values(values[column.index :: width], column, budget)


def _flat(tensor: Any, column: Column, budget: Budget) -> list[Any]:
    """All values of a tensor, in order."""
    data = tensor.get("data")
    if data is None:
        _no_data(tensor, column)
    if not isinstance(data, list):
        raise _Found(column.label, "its data are no list")
    budget.take(len(data))
    while any(type(one) is list for one in data):
        if not all(type(one) is list for one in data):
            raise _Found(column.label, "its data have rows of different depths")
        budget.take(sum(map(len, data)))
        data = [value for row in data for value in row]
    return data


def _no_data(tensor: Any, column: Column) -> NoReturn:
    parameters = tensor.get("parameters")
    if isinstance(parameters, dict) and any(one in parameters for one in _ELSEWHERE):
        raise Unchecked("its data are elsewhere")
    raise _Found(column.label, "it has no data")


def _check_count(rows: int, place: str, guard: InputGuard) -> None:
    if guard.rows is not None and rows > guard.rows:
        raise _Found(place, f"there are more than {guard.rows} rows")


def _check_values(values: list[Any], column: Column, budget: Budget) -> None:
    budget.take(len(values))
    if wrong := _wrong(values, column):
        raise _Found(column.label, wrong)


def _wrong(values: list[Any], column: Column) -> str:
    known = [one for one in values if one is not None]
    if len(known) < len(values) and not column.missing:
        return _MISSING
    if column.type is not None:
        types, said = _TYPES[column.type]
        if not types.issuperset(map(type, known)):
            return said
        if column.type is Type.INTEGER and not all(type(one) is int or one.is_integer() for one in known):
            return said
    if column.categories and not all(text_of(one) in column.categories for one in known):
        return "a value is none of the categories"
    return _out_of_range(known, column)


def text_of(value: Any) -> str | None:
    """A value as a category is written; None for what is none."""
    if type(value) is str:
        return value
    return str(value) if type(value) is int else None


def _out_of_range(known: list[Any], column: Column) -> str:
    if not known or (column.minimum is None and column.maximum is None):
        return ""
    if not _NUMBERS.issuperset(map(type, known)):
        return _TYPES[Type.NUMBER][1]
    if column.minimum is not None and min(known) < column.minimum:
        return f"a number is less than {column.minimum:g}"
    if column.maximum is not None and max(known) > column.maximum:
        return f"a number is more than {column.maximum:g}"
    return ""
