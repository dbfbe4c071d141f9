"""Files into documents, each field with the line that it stands in.

YAML is read as kubectl reads it: `Off` is false, a date stays text, and a key that is written twice in one map is an
error rather than silently the second one. What is no resource of Serin is counted and left to others.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from serin.api import names
from serin.api.json import JsonObject
from serin.cli.exit_codes import Exit, Stop

_SUFFIXES: Final = (".yaml", ".yml", ".json")
_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"


@dataclass(frozen=True, slots=True)
class Document:
    """One resource of Serin's as written. `lines`: path -> line, counted from 1; "" is where the document begins."""

    file: str
    body: JsonObject
    lines: dict[str, int]

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.body.get("kind", ""))

    @property
    def name(self) -> str:
        """Its metadata.name; "" without one."""
        return str((self.body.get("metadata") or {}).get("name", ""))

    @property
    def namespace(self) -> str:
        """Its metadata.namespace; "" when that is left to kubectl."""
        return str((self.body.get("metadata") or {}).get("namespace", ""))

    @property
    def label(self) -> str:
        """Kind and name, for messages."""
        return f"{self.kind or 'resource'} {self.name}".strip()

    def line(self, path: str) -> int:
        """The line of a field, or of the nearest field above it that is written."""
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines.get(path, 1)


@dataclass(frozen=True, slots=True)
class Unread:
    """Something that cannot be read as it is meant, and what to do about it."""

    file: str
    line: int
    message: str
    resource: str = ""
    path: str = ""


@dataclass(slots=True)
class Read:
    """What was found in the files. `others`: documents that are no resources of Serin's."""

    documents: list[Document] = field(default_factory=list)
    problems: list[Unread] = field(default_factory=list)
    others: int = 0


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without dates."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def expand(files: Sequence[Path]) -> list[Path]:
    """Folders into their manifests, sorted. Raises Stop for a folder without any."""
    found: list[Path] = []
    for file in files:
        if not file.is_dir():
            found.append(file)
            continue
        inside = sorted(one for one in file.rglob("*") if one.suffix in _SUFFIXES and one.is_file())
        if not inside:
            raise Stop(Exit.USAGE, f"{file} has no {', '.join(_SUFFIXES)} file: name the folder of the manifests")
        found += inside
    return found


def read(files: Iterable[Path]) -> Read:
    """Read every document of the files."""
    result = Read()
    for file in files:
        name, text = ("standard input", sys.stdin.read()) if str(file) == "-" else (str(file), file.read_text("utf-8"))
        try:
            for node in yaml.compose_all(text, Loader=_Loader):
                if node is not None:
                    _take(result, name, node)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            what = getattr(error, "problem", None) or str(error).splitlines()[0]
            result.problems.append(Unread(name, mark.line + 1 if mark else 1, f"this is no YAML: {what}"))
    return result


def _take(result: Read, file: str, node: yaml.Node) -> None:
    value = _with_text_keys(_Loader("").construct_document(node))
    bodies = value.get("items") if isinstance(value, dict) and value.get("kind") == "List" else None
    if isinstance(bodies, list):
        items = next(item for key, item in node.value if key.value == "items")
        for body, inner in zip(bodies, items.value, strict=True):
            _take_one(result, file, body, inner)
    else:
        _take_one(result, file, value, node)


def _with_text_keys(value: Any) -> Any:
    """Keys as text, which is what YAML's numbers and booleans become on their way to the API server."""
    if isinstance(value, dict):
        return {_key(key): _with_text_keys(item) for key, item in value.items()}
    return [_with_text_keys(item) for item in value] if isinstance(value, list) else value


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else f"{key:g}" if isinstance(key, float) else str(key)


def _take_one(result: Read, file: str, body: Any, node: yaml.Node) -> None:
    if not isinstance(body, dict):
        message = "a resource is a map: write apiVersion, kind, metadata and spec"
        result.problems.append(Unread(file, node.start_mark.line + 1, message))
        return
    if not str(body.get("apiVersion", "")).startswith(f"{names.GROUP}/"):
        result.others += 1
        return
    lines: dict[str, int] = {}
    document = Document(file, body, lines)
    for path, line in _walk(node, ""):
        if path in lines:
            message = f"written twice, also in line {lines[path]}: only one of them counts, remove the other"
            result.problems.append(Unread(file, line, message, document.label, path))
        lines.setdefault(path, line)
    result.documents.append(document)


def _walk(node: yaml.Node, path: str) -> Iterator[tuple[str, int]]:
    """Every field with its line; a key that is written twice comes twice."""
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = f"{path}.{key.value}".lstrip(".")
            for found, line in _walk(value, inner):
                yield found, key.start_mark.line + 1 if found == inner else line
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _walk(item, f"{path}[{index}]")
