"""Recording, as Envoy takes part in it: a filter of every cluster that shows the guard a share of the answers.

Of the clusters and not of the listener, so that answers to copies are recorded too, and a version's own answers are not
taken for those that stable gives in its place. The filter only looks (`observability_mode`): nobody waits for the
guard. Envoy draws for each attempt; of one that is not drawn the guard hears nothing.

It comes before the filters that check answers (guarding.py), so it sees what is left of an answer after them.
"""

from typing import Final

from serin.api.guard_record import Recording, write_recording
from serin.api.json import JsonObject
from serin.routers.envoy.guarding import drawn_filter, has_header, observing, settings_of
from serin.routers.envoy.routed_model import RoutedModel

FILTER: Final = "serin-guard-record"


def record_filters(model: RoutedModel) -> list[JsonObject]:
    """Filters of a cluster, before all others; none where nothing is recorded."""
    if model.record is None:
        return []
    recording = Recording(model.namespace, model.name, model.record.protocol, model.record.predictions)
    settings = settings_of(write_recording(recording), model.guard_key)
    attributes = {"response_attributes": ["request.method", "request.path", "xds.upstream_host_metadata"]}
    processor = observing({"request_header_mode": "SKIP"}, settings) | attributes
    return [drawn_filter(FILTER, processor, model.record.share, [has_header(":method", {"exact": "POST"})])]
