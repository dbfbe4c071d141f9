"""Pod templates as public charts make them, and what Serin may change in one: what docs/operations.md says."""

import copy
from pathlib import Path
from typing import Any, Final

import yaml

from serin.api.json import JsonObject

CASES: Final[dict[str, JsonObject]] = {
    one["name"]: one for one in yaml.safe_load_all((Path(__file__).parent / "templates.yaml").read_text())
}
# Of a ModelDeployment's spec, beside the template.
BESIDE: Final = ("port", "runtime", "model")
_DRAIN_SECONDS: Final = 5
_CONFIG: Final = "serin-config"


def spec_of(case: str) -> JsonObject:
    """The spec of a ModelDeployment for one case."""
    given = copy.deepcopy(CASES[case])
    return {key: given[key] for key in (*BESIDE, "template") if key in given} | {"config": {"threshold": "0.5"}}


def without_additions(made: JsonObject, given: JsonObject) -> JsonObject:
    """`made`, a pod's metadata and spec, without what Serin documents that it adds to `given`.

    Asserts on the way that the additions are those.
    """
    made = copy.deepcopy(made)
    metadata, spec = made.get("metadata") or {}, made["spec"]
    for kind in ("labels", "annotations"):
        found = metadata.get(kind) or {}
        metadata[kind] = {key: value for key, value in found.items() if "serin.dev/" not in key}
    _without_config(spec)
    grace = given["spec"].get("terminationGracePeriodSeconds")
    assert spec.pop("terminationGracePeriodSeconds") == (30 if grace is None else grace) + _DRAIN_SECONDS
    if grace is not None:
        spec["terminationGracePeriodSeconds"] = grace
    for one in [*spec["containers"], *(spec.get("initContainers") or [])]:
        names = [variable["name"] for variable in one["env"]]
        assert names[0].startswith("SERIN_"), names
        one["env"] = [variable for variable in one["env"] if not variable["name"].startswith("SERIN_")]
    _without_serving(spec["containers"][0], given["spec"]["containers"][0])
    return made


def _without_config(spec: JsonObject) -> None:
    spec["volumes"] = [one for one in spec["volumes"] if one["name"] != _CONFIG]
    for one in [*spec["containers"], *(spec.get("initContainers") or [])]:
        mounts = [mount for mount in one["volumeMounts"] if mount["name"] != _CONFIG]
        assert len(mounts) == len(one["volumeMounts"]) - 1
        one["volumeMounts"] = mounts


def _without_serving(server: JsonObject, given: JsonObject) -> None:
    """What the first container has beyond the others: probes that were left out, and the drain."""
    if not given.get("readinessProbe"):
        assert server.pop("readinessProbe")
    if server.get("startupProbe") and not given.get("startupProbe"):
        assert "httpGet" in server.pop("startupProbe")
    hook, own = server["lifecycle"].pop("preStop"), (given.get("lifecycle") or {}).get("preStop")
    if own:
        assert hook == own or hook["exec"]["command"][4:] == own["exec"]["command"]
        server["lifecycle"]["preStop"] = own
    else:
        assert hook == {"sleep": {"seconds": _DRAIN_SECONDS}}


def meaning(value: Any) -> Any:
    """What a manifest says: empty and absent are the same, and numbers are as good as their text."""
    if isinstance(value, dict):
        found = {key: meaning(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item not in (None, {}, [], "")}
    return [meaning(item) for item in value] if isinstance(value, list) else value
