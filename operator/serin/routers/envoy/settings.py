"""`spec.router.envoy`: what users may set for Envoy, and how it is read."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from serin.api.fields import Field
from serin.api.json import JsonObject

NAME: Final = "envoy"  # the key under spec.router and status.router


class Shield(StrEnum):
    """Which requests that the candidate fails are answered by stable instead."""

    FAILURES = "Failures"  # every failure: errors, resets, time-outs
    UNSENT = "Unsent"  # only requests that never reached the model
    OFF = "Off"


class Protocol(StrEnum):
    """What clients and the model server speak."""

    HTTP1 = "HTTP1"
    HTTP2 = "HTTP2"  # also gRPC


class EventStreams(StrEnum):
    """What the router knows of answers of the type text/event-stream."""

    OPAQUE = "Opaque"  # when they break off, and when they stand still
    READ = "Read"  # also what their events say


@dataclass(frozen=True, slots=True)
class EnvoySettings:
    """Request time-out and hedge in seconds (no hedge: None; no time-out: 0)."""

    shield: Shield = Shield.FAILURES
    hedge_after: float | None = None
    timeout: float = 300.0
    protocol: Protocol = Protocol.HTTP1
    event_streams: EventStreams = EventStreams.OPAQUE


def with_defaults(settings: JsonObject) -> JsonObject:
    """The same with what the schema fills in, as it may be missing in an object from before the CRD was updated."""
    default = EnvoySettings()
    known = {
        "shield": default.shield,
        "timeout": f"{default.timeout:g}s",
        "protocol": default.protocol,
        "eventStreams": default.event_streams,
    }
    return known | settings


def read_settings(settings: JsonObject) -> EnvoySettings:
    """Read `spec.router.envoy`, which the schema has checked and defaulted. Raises InvalidSpec."""
    field = Field(settings, f"spec.router.{NAME}")
    return EnvoySettings(
        shield=field["shield"].one_of(Shield),
        hedge_after=field.duration_of("hedgeAfter"),
        timeout=field["timeout"].duration(),
        protocol=field["protocol"].one_of(Protocol),
        event_streams=field["eventStreams"].one_of(EventStreams),
    )
