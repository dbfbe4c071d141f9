"""Writes docs/api.md from the CRDs: every field with type, bounds, default and description, every rule's message.

The CRDs are the only source: what is not said there is not said here, and nobody has to keep two texts alike.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]

CRDS = Path(__file__).resolve().parents[1] / "crds"
# In the order in which a reader meets them.
_FILES = ("modeldeployments.yaml", "metrictemplates.yaml", "modelsnapshots.yaml", "reviewitems.yaml")

_INTRODUCTION = """# API reference

Generated from [crds/](../crds) by `make manifests`. `kubectl explain md.spec --recursive` prints it from a cluster;
[canary.yaml](../manifests/samples/canary.yaml) has every field in use. What the words mean: [concepts.md](concepts.md).

A field in **bold** has to be written. ✗ is the API server's answer to what does not fit.
"""


def reference() -> str:
    """The whole page."""
    crds = [yaml.safe_load((CRDS / name).read_text()) for name in _FILES]
    return "\n".join([_INTRODUCTION, *(_kind(crd["spec"]) for crd in crds)])


def _kind(crd: Schema) -> str:
    names, [version] = crd["names"], crd["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    short = ", ".join(f"`{one}`" for one in names.get("shortNames", ()))
    lines = [f"## {names['kind']}\n", f"`{crd['group']}/{version['name']}`, for kubectl also {short}.", ""]
    lines += [_text(schema), ""]
    for part in ("spec", "status"):
        if part in schema["properties"]:
            lines += _sections(schema["properties"][part], part)
    columns = [(one["name"], one.get("description", "")) for one in version.get("additionalPrinterColumns", ())]
    wide = [one["name"] for one in version.get("additionalPrinterColumns", ()) if one.get("priority")]
    lines += [f"### Columns of `kubectl get {names['shortNames'][0]}`\n", "| column | what it shows |", "|---|---|"]
    lines += [f"| {name}{' (`-o wide`)' if name in wide else ''} | {_cell(text)} |" for name, text in columns]
    return "\n".join([*lines, ""])


def _sections(schema: Schema, path: str) -> Iterator[str]:
    """One table for the plain fields of spec or status, and one for each of its structures."""
    plain = {name: one for name, one in schema["properties"].items() if not _inner(one)}
    yield from _table(path, schema, list(_rows({**schema, "properties": plain}, "")))
    for name, one in schema["properties"].items():
        if _inner(one):
            suffix = "[]" if one["type"] == "array" else ""
            yield from _table(f"{path}.{name}", one, list(_rows(one["items"] if suffix else one, "")))


def _table(path: str, schema: Schema, rows: list[str]) -> Iterator[str]:
    facts = [_type(schema)] if schema["type"] == "array" else []
    facts += [f"default {_default(schema)}"] if schema.get("default") else []
    yield f"### {path}\n"
    yield from (f"{text[0].upper()}{text[1:]}\n" for text in (", ".join(facts), _text(schema)) if text)
    if rows:
        yield "| field | type | default | |\n|---|---|---|---|"
        yield "\n".join(rows) + "\n"


def _text(schema: Schema) -> str:
    rules = "\n".join(f"- {_cell(one)}" for one in _rules(schema))
    return "\n\n".join(filter(None, [_cell(schema.get("description", "")), rules]))


def _rows(schema: Schema, path: str) -> Iterator[str]:
    required = schema.get("required", ())
    for name, one in schema.get("properties", {}).items():
        field = f"{path}{name}"
        label = f"**`{field}`**" if name in required else f"`{field}`"
        text = "<br>".join([_cell(one.get("description", "")), *map(_cell, _rules(one))])
        yield f"| {label} | {_type(one)} | {_default(one)} | {text.removeprefix('<br>')} |"
        if inner := _inner(one):
            yield from _rows(inner, f"{field}[]." if one["type"] == "array" else f"{field}.")


def _inner(schema: Schema) -> Schema | None:
    """The structure inside a field: its own, or that of its items; None when there is none."""
    found = schema.get("items", schema)
    return found if "properties" in found else None


def _rules(schema: Schema) -> list[str]:
    """Messages of the CEL rules of this very place, and of a map's or list's items."""
    own = [f"✗ {one['message']}" for one in schema.get("x-kubernetes-validations", ())]
    items = schema.get("additionalProperties") or schema.get("items")
    return own + (_rules(items) if items else [])


def _type(schema: Schema) -> str:
    kind = schema["type"]
    if "enum" in schema:
        return "one of " + ", ".join(f"`{json.dumps(one) if one in ('', 'Off') else one}`" for one in schema["enum"])
    if kind == "array":
        items = "objects" if "properties" in schema["items"] else f"{schema['items']['type']}s"
        return f"list of {items}{_bound(schema, 'Items')}"
    if "additionalProperties" in schema:
        return f"map of {schema['additionalProperties']['type']}s{_bound(schema, 'Properties')}"
    if kind == "integer":
        low, high = schema.get("minimum"), schema.get("maximum")
        return f"integer, {low} to {high}" if high is not None else "integer" + (f" from {low}" if low else "")
    if schema.get("format") == "date-time":
        return "time"
    # Where a rule says what to write, the number of characters is no help.
    return kind if "x-kubernetes-validations" in schema else f"{kind}{_bound(schema, 'Length')}"


def _bound(schema: Schema, what: str) -> str:
    low, high = schema.get(f"min{what}"), schema.get(f"max{what}")
    most = f", at most {high}" if high is not None else ""
    return f", at least {low}{most}" if low and low > 1 else most


def _default(schema: Schema) -> str:
    value = schema.get("default")
    if value in (None, {}):
        return ""
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
    return "`{}`".format(text.replace("'", '"'))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<br>", "\0").replace("<", "&lt;").replace("\0", "<br>")
