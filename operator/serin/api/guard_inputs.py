"""`spec.guard.input`: what the requests of clients must look like, whatever the model is.

As with outputs (guard.py) the guard keeps no settings: they come with every exchange, as one line of JSON. What is said
of a request names a column of the spec and nothing that is in the request.
"""

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final

from serin.api.fields import Field, InvalidSpec
from serin.api.guard import LONGEST_WRITTEN, Protocol, one_line, read_line, read_path
from serin.api.guard_schema import read_schema
from serin.api.json import JsonObject
from serin.api.signature import Signature, Tensor

# Of a request: the namespace of its dynamic metadata, and the key under which the guard says what became of it.
METADATA: Final = "serin.input"
STATE: Final = "state"


class Looked(StrEnum):
    """What became of a request."""

    PASSED = "passed"
    INVALID = "invalid"  # and it was let pass
    REJECTED = "rejected"
    UNCHECKED = "unchecked"  # it asks the model, and cannot be looked at
    NOT_ASKED = "not-asked"  # it does not ask the model


class Type(StrEnum):
    """What every value of a column is."""

    NUMBER = "Number"
    INTEGER = "Integer"
    TEXT = "Text"
    BOOLEAN = "Boolean"


# Of the tensors of a signature, by their datatypes without the bits. A server may take 0 and 1 for BOOL.
_TYPES: Final = {"FP": Type.NUMBER, "BF": Type.NUMBER, "INT": Type.INTEGER, "UINT": Type.INTEGER, "BYTES": Type.TEXT}


@dataclass(frozen=True, slots=True)
class Column:
    """What must hold for every value of one column.

    `name`: of a tensor, or the key in each row. `index`: its place in each row, counted from 0. `type`: None: any.
    `categories`: texts, and of an integer its digits; none: any. `missing`: null, or not there, is good. `shape`: of
    the tensor, -1 where any size fits; none: any.
    """

    name: str = ""
    index: int | None = None
    type: Type | None = None
    minimum: float | None = None
    maximum: float | None = None
    categories: frozenset[str] = frozenset()
    missing: bool = False
    shape: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """As a client is told: amount, column 3, rows[3]."""
        if self.index is None:
            return self.name
        return f"{self.name}[{self.index}]" if self.name else f"column {self.index}"


@dataclass(frozen=True, slots=True)
class InputGuard:
    """`spec.guard.input`. `path`: where the rows are in any JSON, "": it is they. `rows`: at most, None: any number.

    `schema`: of the whole request, as JSON (guard_schema.py), "": any.
    `signature`: columns are also those of the serving version's signature (`with_signature` adds them).
    """

    protocol: Protocol
    columns: tuple[Column, ...] = ()
    reject: bool = True
    rows: int | None = None
    path: str = ""
    signature: bool = False
    schema: str = ""


def read_input(guard: Field | None) -> InputGuard | None:
    """From `spec.guard`, defaults included; None: requests are not checked. Raises InvalidSpec."""
    found = guard.get("input") if guard else None
    if found is None:
        return None
    columns, path = found.get("columns"), found.get("path")
    read = InputGuard(
        protocol=found["protocol"].one_of(Protocol),
        columns=tuple(_column(one) for one in columns.items()) if columns else (),
        reject=found["onInvalid"].one_of(_OnInvalid) is _OnInvalid.REJECT,
        rows=found.value.get("rows"),
        path=read_path(path) if path else "",
        signature=bool(found.value.get("signature")),
        schema=read_schema(found.get("schema")),
    )
    seen: set[tuple[str, int | None]] = set()
    for at, one in enumerate(read.columns):
        if (one.name, one.index) in seen:
            raise InvalidSpec(f"{found.path}.columns[{at}]: this column is there twice: write it once")
        seen.add((one.name, one.index))
    if len(write_input(read)) > LONGEST_WRITTEN:
        raise InvalidSpec(
            f"{found.path}: the columns and the schema have more than {LONGEST_WRITTEN} characters together: write "
            "fewer categories, or a shorter schema"
        )
    return read


def with_signature(guard: InputGuard, known: Signature | None) -> InputGuard:
    """The same with a column for each tensor that the version takes; what the user has written of one comes first."""
    if not guard.signature or known is None:
        return guard
    written = {one.name: one for one in guard.columns if one.index is None}
    tensors = tuple(_of_tensor(one, written.get(one.name, Column(one.name))) for one in known.inputs)
    taken = {one.name for one in tensors}
    rest = tuple(one for one in guard.columns if one.index is not None or one.name not in taken)
    return replace(guard, columns=(*tensors, *rest))


def _of_tensor(tensor: Tensor, column: Column) -> Column:
    return replace(
        column, type=column.type or _TYPES.get(tensor.datatype.rstrip("0123456789")), shape=column.shape or tensor.shape
    )


def write_input(guard: InputGuard) -> str:
    """As one line of ASCII, without a percent sign."""
    body: JsonObject = {"protocol": guard.protocol, "columns": [_row(one) for one in guard.columns]}
    body |= {"reject": guard.reject, "rows": guard.rows, "path": guard.path}
    return one_line(body | ({"schema": guard.schema} if guard.schema else {}))


def is_input(text: str) -> bool:
    """Whether it was `write_input` that has written this: its first key is no other's."""
    return text.startswith('{"columns":')


def read_written_input(text: str) -> InputGuard:
    """What `write_input` has written. Raises ValueError for anything else."""
    try:
        body = read_line(text, "protocol", "columns", "reject", "rows", "path", "schema")
        columns = tuple(_written_column(row) for row in body["columns"])
        read = InputGuard(Protocol(body["protocol"]), columns, body["reject"], body["rows"], body["path"])
        return replace(read, schema=body.get("schema", ""))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"these are no settings of a guard: {error!r}") from None


class _OnInvalid(StrEnum):
    REJECT = "Reject"
    COUNT = "Count"


def _column(field: Field) -> Column:
    value, kind = field.value, field.get("type")
    found = Column(
        name=value.get("name") or "",
        index=value.get("index"),
        type=kind.one_of(Type) if kind else None,
        minimum=field.quantity_of("min"),
        maximum=field.quantity_of("max"),
        categories=frozenset(value.get("categories") or ()),
        missing=bool(value.get("missing")),
        shape=tuple(value.get("shape") or ()),
    )
    if found.minimum is not None and found.maximum is not None and found.minimum > found.maximum:
        raise InvalidSpec(f"{field.path}: min is more than max: exchange them")
    return found


_ANY: Final = Column()


def _row(column: Column) -> JsonObject:
    """What differs from a column that may be anything. (0 equals False, and is a limit.)"""
    found: JsonObject = {}
    for one in fields(column):
        value = getattr(column, one.name)
        if value is not getattr(_ANY, one.name) and value != frozenset():
            found[one.name] = sorted(value) if isinstance(value, frozenset) else value
    return found


def _written_column(row: Any) -> Column:
    kind = row.get("type")
    lists = {"categories": frozenset(row.get("categories", ())), "shape": tuple(row.get("shape", ()))}
    return Column(**{**row, **lists, "type": Type(kind) if kind else None})
