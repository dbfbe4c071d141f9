"""Routers: each carries a deployment's traffic split to what clients' requests pass through. The table names them."""

from collections.abc import Mapping, Set
from typing import Final

from serin.api.capabilities import Capability, check
from serin.api.fields import InvalidSpec
from serin.api.spec import ModelDeployment, ModelDeploymentSpec
from serin.rollout.strategies.table import strategy_of
from serin.routers import envoy
from serin.routers.base import Router, RouterContext, RouterType

# The member of `spec.router` -> the router of that name.
ROUTERS: Final[dict[str, RouterType]] = {
    envoy.NAME: RouterType(envoy.add_arguments, envoy.build, envoy.templates, envoy.CAPABILITIES, envoy.BUCKETS),
}


def build_routers(context: RouterContext) -> dict[str, Router]:
    """Every router of the table, by name."""
    return {name: kind.build(context) for name, kind in ROUTERS.items()}


def check_capabilities(spec: ModelDeploymentSpec, able: Mapping[str, Set[Capability]]) -> None:
    """Refuse what the spec asks of a router that cannot do it. `able`: by the router's name. Raises InvalidSpec."""
    name, fallback = spec.router.name, {Capability.FALLBACK: "spec.fallback"} if spec.fallback else {}
    if name in able:
        check(name, able[name], {**strategy_of(spec).needs(), **fallback})


def router_of(routers: Mapping[str, Router], deployment: ModelDeployment) -> Router:
    """The router that the spec asks for. Raises InvalidSpec."""
    name = deployment.spec.router.name
    if name not in routers:
        raise InvalidSpec(f"spec.router.{name} is unknown: write one of {', '.join(routers)}")
    return routers[name]
