"""The docs: every link leads somewhere, and every manifest in them is one that works."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from serin.cli.app import verbs

ROOT = Path(__file__).parents[2]
_SHOWN = re.compile(r"!\[[^]]+\]\((images/[^)]+)\)")
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def manifests() -> list[Any]:
    """Manifests in the docs, and lists of metrics, which become a ModelDeployment's."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
            for number, body in enumerate(yaml.safe_load_all(block)):
                if isinstance(body, dict) and ("metrics" in body or "apiVersion" in body):
                    found.append(pytest.param(body, id=f"{page.name}-{number}"))
    return found


@pytest.mark.parametrize("body", manifests())
def test_every_manifest_in_the_docs_is_valid(body: dict[str, Any], tmp_path: Path) -> None:
    if "metrics" in body:
        container = {"name": "model", "image": "m:1", "ports": [{"containerPort": 8080}]}
        spec = {"template": {"spec": {"containers": [container]}}, "metrics": body["metrics"]}
        metadata = {"name": "fraud"}
        body = {"apiVersion": "serin.dev/v1alpha1", "kind": "ModelDeployment", "metadata": metadata, "spec": spec}
    file = tmp_path / "manifest.yaml"
    file.write_text(yaml.safe_dump(body))
    checked = CliRunner().invoke(verbs, ["lint", "-f", str(file)])
    assert checked.exit_code == 0, checked.output


def test_there_are_manifests_in_the_docs() -> None:
    assert len(manifests()) >= 3


def test_pictures_are_shown_and_small() -> None:
    """A clone of the repository carries each of them for ever."""
    pictures = sorted((ROOT / "docs" / "images").iterdir())
    shown = {path.name for page in (ROOT / "docs").glob("*.md") for path in map(Path, _SHOWN.findall(page.read_text()))}
    assert {one.name for one in pictures} == shown
    assert [one.name for one in pictures if one.stat().st_size > 120_000] == []
