"""Routers: each carries a deployment's traffic split to what clients' requests pass through. The table names them."""

from collections.abc import Mapping
from typing import Final

from serin.api.fields import InvalidSpec
from serin.api.spec import ModelDeployment
from serin.routers import envoy
from serin.routers.base import Router, RouterContext, RouterType

# The member of `spec.router` -> the router of that name.
ROUTERS: Final[dict[str, RouterType]] = {
    envoy.NAME: RouterType(envoy.add_arguments, envoy.build, envoy.templates, envoy.CAPABILITIES, envoy.BUCKETS),
}


def build_routers(context: RouterContext) -> dict[str, Router]:
    """Every router of the table, by name."""
    return {name: kind.build(context) for name, kind in ROUTERS.items()}


def router_of(routers: Mapping[str, Router], deployment: ModelDeployment) -> Router:
    """The router that the spec asks for. Raises InvalidSpec."""
    name = deployment.spec.router.name
    if name not in routers:
        raise InvalidSpec(f"spec.router.{name} is unknown: write one of {', '.join(routers)}")
    return routers[name]
