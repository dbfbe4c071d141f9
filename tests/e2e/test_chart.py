"""The chart's own test, on pods that really run: it asks operator, router and web page."""

from pathlib import Path

from tests.documented import Terminal
from tests.e2e.install import Installation


def test_helm_test_says_that_operator_router_and_web_page_are_ready(
    serin: Installation, helm: Path, tmp_path: Path
) -> None:
    terminal = Terminal(serin.cluster, helm, tmp_path)
    said = terminal("helm test serin -n serin-system --timeout 2m")
    assert "Phase:          Succeeded" in said
    assert "serin-test" not in terminal("kubectl -n serin-system get pods -o name"), "it is removed when it succeeds"
