"""The table of strategies: a new one is a file in this folder and a line here."""

from collections.abc import Callable
from typing import Final

from serin.api.capabilities import Capability, Needs
from serin.api.fields import Field, InvalidSpec
from serin.api.spec import ModelDeploymentSpec
from serin.rollout.strategies.ab_test import AbTest
from serin.rollout.strategies.bandit import Bandit
from serin.rollout.strategies.base import Strategy
from serin.rollout.strategies.blue_green import BlueGreen
from serin.rollout.strategies.canary import Canary
from serin.rollout.strategies.shadow import read_shadow

# The member of `spec.strategy` -> how its settings are read; raises InvalidSpec.
STRATEGIES: Final[dict[str, Callable[[Field], Strategy]]] = {
    "canary": Canary.read,
    "blueGreen": BlueGreen.read,
    "abTest": AbTest.read,
    "bandit": Bandit.read,
    "shadow": read_shadow,
}


def strategy_of(spec: ModelDeploymentSpec) -> Strategy:
    """The strategy that the spec asks for. Raises InvalidSpec."""
    name = spec.strategy.name
    if name not in STRATEGIES:
        raise InvalidSpec(f"spec.strategy.{name} is unknown: write one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name](Field(spec.strategy.settings, f"spec.strategy.{name}"))


def needs_of(spec: ModelDeploymentSpec) -> Needs:
    """What the spec needs of its router. Raises InvalidSpec."""
    fallback = {Capability.FALLBACK: "spec.fallback"} if spec.fallback else {}
    weights = {Capability.WEIGHTS: "spec.watch.holdback"} if spec.holdback else {}
    guard = {Capability.GUARD: "spec.guard"} if spec.guarded else {}
    return {**weights, **strategy_of(spec).needs(), **fallback, **guard}
