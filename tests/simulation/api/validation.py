"""Whether an object may be stored: everything that the API server checks of one write, in one place."""

from serin.api.json import JsonObject
from tests.simulation.api import builtin, metadata, scale, structural
from tests.simulation.api.resources import Resource
from tests.simulation.api.status import FieldError, invalid


def check(resource: Resource, new: JsonObject, old: JsonObject | None, subresource: str) -> None:
    """Raise ApiError 422 with all that is wrong. `old`: what is stored, None for a new object."""
    kind, name = resource.kind, new["metadata"].get("name", "")
    found: list[FieldError] = []
    if old is None:
        found += metadata.name_errors(name, service=kind.name == "Service")
    elif not subresource:
        found += metadata.update_errors(new["metadata"], old["metadata"])
    if not subresource:
        found += metadata.errors(new["metadata"])
    if resource.crd is not None:
        found += _schema_errors(resource, resource.crd, new, old, subresource)
    elif not subresource:
        found += builtin.errors(kind.name, new, old)
    if found:
        raise invalid(kind, name, found)


def _schema_errors(
    resource: Resource, schema: JsonObject, new: JsonObject, old: JsonObject | None, subresource: str
) -> list[FieldError]:
    """Types and bounds, lists that are maps, and the rules, where nothing keeps the server from asking them."""
    if subresource:
        before = (old or {}).get("status", structural.NOTHING)
        part = schema["properties"]["status"]
        found = structural.errors(new["status"], before, part, "status") if "status" in new else []
    else:
        found = structural.errors(new, structural.NOTHING if old is None else old, schema)
    if resource.scale is not None:
        found += scale.errors(new, resource.scale, spec=not subresource)
    twice = list(structural.duplicates(new, schema))
    if twice and (old is None or not list(structural.duplicates(old, schema))):
        found += twice
    if structural.blocks_rules(found):
        return [*found, structural.rules_not_checked()]
    return [*found, *(resource.rules.broken(new, old) if resource.rules else ())]
