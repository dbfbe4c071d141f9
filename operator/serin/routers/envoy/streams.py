"""Event streams (text/event-stream): how the router sees that one has failed after its headers.

A model server that fails in mid-stream often ends the stream in order: with an event that says so (vLLM, when its
engine dies or it gets SIGTERM), or with no more than an end. To HTTP that is a success. Where `eventStreams: Read` asks
for it a Lua filter reads the events as they pass, holds none back, and writes what it finds into the request's
metadata; a logger in series.py counts by it:

- `error`: an event says so;
- `ended`: the stream has ended in order. One that breaks off has not: its attempt has failed already;
- `unfinished`: it has ended in order, but without what its API ends with.

Lua, as Envoy 1.40's own filter for event streams ends the process on an event `data: null`. It is not free: 100 KB for
each worker thread of Envoy and each deployment that has it.
"""

from importlib.resources import files
from typing import Final

from serin.api.json import JsonObject
from serin.routers.envoy.log_filters import all_of, any_of, expression, flags, metadata
from serin.routers.envoy.shape import typed

_METADATA: Final = "serin.stream"
_EVENT_STREAM: Final = (
    "'content-type' in response.headers && response.headers['content-type'].startsWith('text/event-stream')"
)
_SCRIPT: Final = files(__package__).joinpath("streams.lua").read_text()


def stream_filter() -> JsonObject:
    """The HTTP filter that reads event streams."""
    lua = "envoy.extensions.filters.http.lua.v3.Lua"
    return typed("envoy.filters.http.lua", lua, {"default_source_code": {"inline_string": _SCRIPT}})


def is_stream() -> JsonObject:
    """An access log filter: the answer is an event stream."""
    return expression(_EVENT_STREAM)


def is_no_stream() -> JsonObject:
    """An access log filter: the answer is anything else, or there is none."""
    return expression(f"!({_EVENT_STREAM})")


def failed_in_order() -> JsonObject:
    """An access log filter: the stream said that it had failed, or ended where its API does not.

    A client that goes away when it has read the error has read it all the same.
    """
    return any_of(all_of(_found("error"), any_of(_found("ended"), flags("DC"))), _found("unfinished"))


def _found(key: str) -> JsonObject:
    return metadata(_METADATA, key)
