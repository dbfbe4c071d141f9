"""`spec.router.envoy`: what users may set for Envoy, and how it is read."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from serin.api.capabilities import Capability
from serin.api.fields import Field
from serin.api.json import JsonObject

CAPABILITIES: Final = frozenset(
    {
        Capability.WEIGHTS,
        Capability.HEADERS,
        Capability.COOKIES,
        Capability.STICKY,
        Capability.MIRROR,
        Capability.SHIELD,
        Capability.FALLBACK,
        Capability.GUARD,
    }
)
NAME: Final = "envoy"  # the key under spec.router and status.router


class Shield(StrEnum):
    """Which requests that the candidate fails are answered by stable instead."""

    FAILURES = "Failures"  # every failure: errors, resets, time-outs
    UNSENT = "Unsent"  # only requests that never reached the model
    OFF = "Off"


class EventStreams(StrEnum):
    """What the router knows of answers of the type text/event-stream."""

    OPAQUE = "Opaque"  # when they break off, and when they stand still
    READ = "Read"  # also what their events say


@dataclass(frozen=True, slots=True)
class EnvoySettings:
    """What holds for the deployment, whatever version it serves; `hedge_after` in seconds, None for no hedge."""

    shield: Shield = Shield.FAILURES
    hedge_after: float | None = None
    event_streams: EventStreams = EventStreams.OPAQUE


def with_defaults(settings: JsonObject) -> JsonObject:
    """The same with what the schema fills in, as it may be missing in an object from before the CRD was updated."""
    default = EnvoySettings()
    return {"shield": default.shield, "eventStreams": default.event_streams} | settings


def read_settings(settings: JsonObject) -> EnvoySettings:
    """Read `spec.router.envoy`, which the schema has checked and defaulted. Raises InvalidSpec."""
    field = Field(settings, f"spec.router.{NAME}")
    return EnvoySettings(
        shield=field["shield"].one_of(Shield),
        hedge_after=field.duration_of("hedgeAfter"),
        event_streams=field["eventStreams"].one_of(EventStreams),
    )
