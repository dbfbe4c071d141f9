"""The Envoy router: a shared Envoy that asks the operator for its configuration and serves every deployment's split.

A deployment is read (`routed_model`), rendered as Envoy's own resources (`rendered`), and carried to every Envoy by the
xDS server (`xds/`). `router` is what the rest of Serin sees of it; `series` says which Prometheus series come out of
it, and what each one counts.
"""

from serin.routers.base import Flag, Router, RouterContext
from serin.routers.envoy.bootstrap import TOKEN_FILE, XDS_PORT
from serin.routers.envoy.limits import CONNECTIONS, HEADER_KILOBYTES, SHIELDED_BYTES
from serin.routers.envoy.series import BUCKETS
from serin.routers.envoy.settings import CAPABILITIES, NAME
from serin.routers.envoy.templates import templates

__all__ = ["BUCKETS", "CAPABILITIES", "NAME", "add_arguments", "build", "templates"]


def add_arguments(flag: Flag) -> None:
    """Envoy's own flags of `serin run`."""
    flag("xds-port", str(XDS_PORT), "port on which the router asks for its configuration", type=int)
    text = "address at which Envoys listen for clients; `::` for IPv6 and IPv4"
    flag("listen-address", "0.0.0.0", text, choices=["0.0.0.0", "::"])
    text = "bytes of the largest request that stable answers after the candidate has failed it"
    flag("shielded-request-bytes", str(SHIELDED_BYTES), text, type=int)
    text = "clients' connections that one deployment may have at each Envoy"
    flag("deployment-connections", str(CONNECTIONS), text, type=int)
    text = "kilobytes that the headers of a request may have together, and those of an answer"
    flag("header-kilobytes", str(HEADER_KILOBYTES), text, type=int)
    flag("guard-timeout", "0", "milliseconds that an answer waits for the guard; 0: there is no guard", type=int)
    text = "who may ask there: pods of the router by their ServiceAccount's token, or (none) everybody"
    flag("xds-authentication", "token", text, choices=["token", "none"])
    flag("xds-token-file", TOKEN_FILE, "this pod's own token, to ask other replicas about their Envoys")


def build(context: RouterContext) -> Router:
    """Build the router; what only a running operator needs is imported here and not before."""
    from serin.routers.envoy.router import EnvoyRouter

    return EnvoyRouter(context)
