"""What the API server has against names, labels, annotations and owner references (apimachinery/pkg/api/validation)."""

import re
from collections.abc import Iterator
from typing import Any, Final

from serin.api.json import JsonObject
from tests.simulation.api import status
from tests.simulation.api.status import FieldError

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = rf"{_LABEL}(\.{_LABEL})*"
_DNS_1035: Final = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE: Final = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_MOST_ANNOTATIONS: Final = 256 * 1024

_SUBDOMAIN_WORDS: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    f"end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
_DNS_1035_WORDS: Final = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    f"'{_DNS_1035}')"
)
_VALUE_WORDS: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    f"'{_VALUE}')"
)
_KEY_WORDS: Final = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    f"(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_QUALIFIED}')"
)


def name_errors(name: Any, *, service: bool) -> Iterator[FieldError]:
    """`service`: whether the name is a DNS label that begins with a letter, as a Service's."""
    path = "metadata.name"
    if not name:
        yield FieldError(path, status.REQUIRED, "name or generateName is required")
    elif service:
        if len(name) > 63:
            yield FieldError(path, status.INVALID, "must be no more than 63 characters", name)
        if not re.fullmatch(_DNS_1035, name):
            yield FieldError(path, status.INVALID, _DNS_1035_WORDS, name)
    else:
        if len(name) > 253:
            yield FieldError(path, status.INVALID, "must be no more than 253 characters", name)
        if not re.fullmatch(_SUBDOMAIN, name):
            yield FieldError(path, status.INVALID, _SUBDOMAIN_WORDS, name)


def errors(metadata: JsonObject) -> Iterator[FieldError]:
    """Labels, annotations, owner references."""
    yield from label_errors(metadata.get("labels") or {}, "metadata.labels")
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        yield from key_errors(key.lower(), "metadata.annotations")
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > _MOST_ANNOTATIONS:
        words = f"may not be more than {_MOST_ANNOTATIONS} bytes"
        yield FieldError("metadata.annotations", status.TOO_LONG, words)
    for owner in metadata.get("ownerReferences") or ():
        for name, words in (("apiVersion", "version must not be empty"), ("kind", "must not be empty")):
            if not owner.get(name):
                yield FieldError(f"metadata.ownerReferences.{name}", status.INVALID, words, "")
        for name in ("name", "uid"):
            if not owner.get(name):
                yield FieldError(f"metadata.ownerReferences.{name}", status.INVALID, "must not be empty", "")


def label_errors(labels: JsonObject, path: str) -> Iterator[FieldError]:
    """Keys and values of labels."""
    for key, value in labels.items():
        yield from key_errors(key, path)
        if len(value) > 63:
            yield FieldError(path, status.INVALID, "must be no more than 63 bytes", value)
        elif not re.fullmatch(_VALUE, value):
            yield FieldError(path, status.INVALID, _VALUE_WORDS, value)


def key_errors(key: str, path: str) -> Iterator[FieldError]:
    """What a qualified name must be: the key of a label or an annotation, a controller's name."""
    *prefix, name = key.split("/")
    if len(prefix) > 1:
        words = (
            f"a valid label key {_KEY_WORDS} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )
        yield FieldError(path, status.INVALID, words, key)
        return
    if prefix == [""]:
        yield FieldError(path, status.INVALID, "prefix part must be non-empty", key)
    elif prefix and not re.fullmatch(_SUBDOMAIN, prefix[0]):
        yield FieldError(path, status.INVALID, f"prefix part {_SUBDOMAIN_WORDS}", key)
    if not name:
        yield FieldError(path, status.INVALID, "name part must be non-empty", key)
    elif len(name) > 63:
        yield FieldError(path, status.INVALID, "name part must be no more than 63 bytes", key)
    if not re.fullmatch(_QUALIFIED, name):
        yield FieldError(path, status.INVALID, f"name part {_KEY_WORDS}", key)


def update_errors(new: JsonObject, old: JsonObject) -> Iterator[FieldError]:
    """What an update may not change."""
    if old.get("deletionTimestamp"):
        added = [one for one in new.get("finalizers") or () if one not in (old.get("finalizers") or ())]
        if added:
            words = f"no new finalizers can be added if the object is being deleted, found new finalizers {_go(added)}"
            yield FieldError("metadata.finalizers", status.FORBIDDEN, words)
    for name in ("name", "namespace", "uid"):
        if new.get(name) != old.get(name):
            yield FieldError(f"metadata.{name}", status.INVALID, "field is immutable", new.get(name))


def _go(texts: list[str]) -> str:
    return "[]string{" + ", ".join(f'"{one}"' for one in texts) + "}"
