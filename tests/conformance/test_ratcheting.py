"""What was stored before a CRD became stricter: which writes the new rules stop, and which they let pass.

This is why the simulation need not look again at what a write does not change.
"""

from typing import Any, Final

from serin.api.json import JsonObject
from serin.cluster.protocol import Kind
from tests.conformance.conftest import Play
from tests.conformance.harness import Api

SAMPLE: Final = Kind("ratchet.serin.dev/v1", "Sample", "samples")
CRD: Final = "samples.ratchet.serin.dev"
SMALL: Final = {"rule": "self < 10", "message": "write less than 10"}


def crd(*, strict: bool) -> JsonObject:
    number: JsonObject = {"type": "integer"} | ({"x-kubernetes-validations": [SMALL]} if strict else {})
    item: JsonObject = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "n": number}}
    if strict:
        item["x-kubernetes-validations"] = [{"rule": "!has(self.n) || self.n != 7", "message": "not 7"}]
    spec: JsonObject = {
        "type": "object",
        "properties": {
            "text": {"type": "string"} | ({"maxLength": 3} if strict else {}),
            "other": {"type": "string"},
            "number": number,
            "word": {"type": "string"} | ({"enum": ["a", "b"]} if strict else {}),
            "keyed": {
                "type": "array",
                "items": item,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
            "plain": {"type": "array", "items": item},
            "map": {"type": "object", "additionalProperties": number},
        },
    }
    if strict:
        long = {"rule": "!has(self.other) || self.other.size() < 3", "message": "other is too long"}
        spec["x-kubernetes-validations"] = [long]
    schema = {"type": "object", "properties": {"spec": spec, "status": {"type": "object", "properties": {"n": number}}}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    }
    names = {"kind": "Sample", "plural": "samples", "singular": "sample", "listKind": "SampleList"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": CRD},
        "spec": {"group": "ratchet.serin.dev", "scope": "Namespaced", "names": names, "versions": [version]},
    }


OLD: Final[JsonObject] = {
    "text": "too long",
    "other": "x",
    "number": 50,
    "word": "z",
    "keyed": [{"name": "a", "n": 50}, {"name": "b", "n": 7}],
    "plain": [{"name": "b", "n": 1}, {"name": "a", "n": 50}],
    "map": {"a": 50, "b": 1},
}
CHANGES: Final[list[JsonObject]] = [
    {"other": "y"},
    {"other": "long"},
    {"number": 51},
    {"text": "still too long"},
    {"word": "y"},
    {"map": {"b": 2}},
    {"map": {"c": 11}},
    {"keyed": [{"name": "a", "n": 50}, {"name": "b", "n": 7}, {"name": "c", "n": 1}]},
    {"keyed": [{"name": "b", "n": 7}, {"name": "a", "n": 50}, {"name": "c", "n": 1}]},
    {"keyed": [{"name": "a", "n": 49}, {"name": "b", "n": 7}]},
    {"keyed": [{"name": "b", "n": 7}]},
    {"plain": [{"name": "b", "n": 2}, {"name": "a", "n": 50}]},
    {"plain": [{"name": "b", "n": 2}]},
    {"number": 5, "text": "ok", "word": "a"},
]


async def served(api: Api, body: JsonObject, status: int) -> None:
    """Wait until the CRD that was installed last has its effect."""

    async def has_effect() -> bool:
        query = {"fieldManager": "conformance", "dryRun": "All"}
        typed: Any = {"apiVersion": SAMPLE.api_version, "kind": "Sample", "metadata": {"name": "probe"}, **body}
        found, _ = await api.request("POST", SAMPLE, "", typed, query=query)
        return found == status

    await api.until(has_effect)


def test_only_what_changes_is_judged(play: Play) -> None:
    async def scenario(api: Api) -> None:
        await api.wire.install(crd(strict=False))
        await served(api, {"spec": OLD}, 201)
        for name in ("one", "two"):
            await api.create(SAMPLE, {"metadata": {"name": name}, "spec": OLD})
        await api.patch(SAMPLE, "two", {"status": {"n": 50}}, subresource="status")
        await api.wire.install(crd(strict=True))
        await served(api, {"spec": OLD}, 422)
        await api.patch(SAMPLE, "one", {"metadata": {"labels": {"a": "b"}}})
        await api.patch(SAMPLE, "one", {"status": {"n": 5}}, subresource="status")
        await api.patch(SAMPLE, "one", {"status": {"n": 11}}, subresource="status")
        await api.patch(SAMPLE, "two", {"metadata": {"labels": {"a": "b"}}})
        for change in CHANGES:
            await api.patch(SAMPLE, "two", {"spec": change})
        await api.create(SAMPLE, {"metadata": {"name": "three"}, "spec": OLD})

    play(scenario)
