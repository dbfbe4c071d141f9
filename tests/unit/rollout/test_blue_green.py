"""Blue/green: a holdback that is edited during the bake."""

from typing import Any

from tests.narratives.world import World, spec


def green(version: str, **changes: Any) -> dict[str, Any]:
    settings = {"preview": {"replicas": 1}, "approve": "Auto", "holdback": 1, "bake": "10m", "keep": "5m", **changes}
    return spec(version, strategy={"blueGreen": settings})


def baking() -> World:
    """Version 2 has 99 % of the requests."""
    world = World()
    world.run(20)
    world.change(green("2"))
    world.run(60)
    assert world.candidate_weight == 99
    return world


def test_requests_of_the_shares_before_an_edit_are_no_evidence_about_the_shares_after_it() -> None:
    world = baking()
    world.change(green("2", holdback=50))
    world.look()
    assert world.candidate_weight == 50
    world.shares = (198_000, 2_000)  # what ends now was routed by the shares before
    world.run(20)
    assert world.status["reason"] == "Baking"
    world.shares = None
    world.run(60)
    assert world.status["reason"] == "Baking"


def test_an_edited_holdback_does_not_begin_the_bake_anew() -> None:
    world = baking()
    until = world.status["step"]["until"]
    world.change(green("2", holdback=50))
    world.run(20)
    assert world.status["step"]["until"] == until
