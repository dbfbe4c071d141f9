"""Recording, as Envoy takes part in it: a filter of every cluster that shows the guard a share of the answers.

Of the clusters and not of the listener, so that answers to copies are recorded too, and a version's own answers are not
taken for those that stable gives in its place. The filter only looks (`observability_mode`): nobody waits for the
guard. Envoy draws for each attempt; of one that is not drawn the guard hears nothing.

It comes before the filters that check answers (guarding.py), so it sees what is left of an answer after them.
"""

from typing import Final

from serin.api.guard_record import Recording, write_recording
from serin.api.json import JsonObject
from serin.routers.envoy.guarding import CLUSTER, PROCESSOR, settings_of
from serin.routers.envoy.routed_model import RoutedModel
from serin.routers.envoy.shape import any_of, typed

FILTER: Final = "serin-guard-record"
_MATCHED: Final = "envoy.extensions.common.matching.v3.ExtensionWithMatcher"
_COMPOSITE: Final = "envoy.extensions.filters.http.composite.v3.Composite"
_EXECUTE: Final = "envoy.extensions.filters.http.composite.v3.ExecuteFilterAction"
_HEADER: Final = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"


def record_filters(model: RoutedModel) -> list[JsonObject]:
    """Filters of a cluster, before all others; none where nothing is recorded."""
    if model.record is None:
        return []
    recording = Recording(model.namespace, model.name, model.record.protocol, model.record.predictions)
    settings = settings_of(write_recording(recording), model.guard_key)
    processor = {
        "grpc_service": {"envoy_grpc": {"cluster_name": CLUSTER}, "initial_metadata": settings},
        "observability_mode": True,
        "failure_mode_allow": True,
        "deferred_close_timeout": "1s",
        "processing_mode": {
            "request_header_mode": "SKIP",
            "response_header_mode": "SEND",
            "response_body_mode": "STREAMED",
            "response_trailer_mode": "SKIP",
        },
        "response_attributes": ["request.method", "request.path", "xds.upstream_host_metadata"],
    }
    share = {"default_value": {"numerator": model.record.share, "denominator": "HUNDRED"}}
    drawn = {"typed_config": typed(FILTER, PROCESSOR, processor), "sample_percent": share}
    asks = {
        "input": typed("method", _HEADER, {"header_name": ":method"}),
        "value_match": {"exact": "POST"},
    }
    matcher = {"predicate": {"single_predicate": asks}, "on_match": {"action": typed("record", _EXECUTE, drawn)}}
    matched = {
        "extension_config": {"name": "composite", "typed_config": any_of(_COMPOSITE, {})},
        "xds_matcher": {"matcher_list": {"matchers": [matcher]}},
    }
    return [typed(FILTER, _MATCHED, matched)]
