"""JSON as types: resources travel as dictionaries, never as generated models."""

from typing import Any

# Any, not a recursive union: a resource is read by key paths that the schema in crds/ has checked already.
JsonObject = dict[str, Any]
