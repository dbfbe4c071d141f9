"""`serin adopt`: the change by which the winner of an experiment becomes what the spec itself describes.

Serin never writes a spec: Git owns it. So the patch is printed, for `kubectl patch` or to be copied into a file.
"""

from serin.api.fields import InvalidSpec
from serin.api.json import JsonObject
from serin.api.names import snapshot_name
from serin.api.parse import content_of
from serin.api.status import read_state
from serin.api.variants import OVERLAYS, variants_of
from serin.cli.exit_codes import Exit, Stop


def patch(body: JsonObject) -> JsonObject:
    """A merge patch of a ModelDeployment, as the API server returned it. Raises Stop when there is nothing to adopt."""
    name, spec, state = body["metadata"]["name"], body["spec"], read_state(body.get("status") or {})
    winner = state.concluded.winner if state.concluded else ""
    if not winner:
        raise Stop(Exit.NO, f"{name}: no experiment with variants has a winner")
    declaring = [kind for kind, one in (spec.get("strategy") or {}).items() if one and one.get("variants")]
    without = {"strategy": {kind: {"variants": None} for kind in declaring}} if declaring else {}
    try:
        found = {snapshot_name(name, content_of(one)): variant for variant, one in variants_of(spec).items()}
        if winner == snapshot_name(name, content_of(spec)):
            return {"spec": without}
    except InvalidSpec as error:
        raise Stop(Exit.NO, f"{name}: {error}") from error
    if winner not in found:
        raise Stop(Exit.NO, f"{name}: the winner {winner} is none of the versions that the spec declares now")
    described = variants_of(spec)[found[winner]]
    changed = {key: described[key] for key in OVERLAYS if described.get(key) != spec.get(key)}
    return {"spec": {**changed, **without}}
