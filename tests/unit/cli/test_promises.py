"""What the command line promises beyond its texts: advice for every reason, a light start, no loss in the image."""

import subprocess
import sys

import pytest

from serin.api.conditions import Reason
from serin.cli.actions import ASKS
from serin.cli.advice import ADVICE, NOTHING_TO_DO, advice
from serin.cli.facts import gather
from serin.cli.sentences import explain, headline, requests_left, seconds_left, waiting
from tests.narratives import stories
from tests.unit.cli.frames import film


def test_every_reason_was_thought_of() -> None:
    assert set(ADVICE) | NOTHING_TO_DO == set(Reason)
    assert not set(ADVICE) & NOTHING_TO_DO


@pytest.mark.parametrize("reason", ADVICE)
def test_advice_names_what_the_user_typed(reason: Reason) -> None:
    said = advice(reason.value, "fraud", "shop", "kubectl serin")
    assert said
    assert "{" not in said
    assert "serin.dev/" not in said.replace("serin.dev/model-deployment", "")


def test_a_reason_of_a_newer_operator_is_no_error() -> None:
    assert advice("SomethingNew", "fraud", "shop", "serin") == ""


def python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_verb_starts_without_what_only_the_operator_needs() -> None:
    heavy = ("kopf", "numpy", "scipy", "aiohttp", "prometheus_client", "prometheus_api_client", "structlog")
    program = (
        "import sys, serin.cli.app, serin.cli.actions, serin.cli.watching, serin.cli.connection, kubernetes.config\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    assert python(program) == "[]"


def test_help_needs_neither_cluster_client_nor_terminal_library() -> None:
    program = (
        "import sys\nfrom serin.cli.app import main\ntry:\n    main(['--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('kubernetes', 'rich', 'celpy', 'promql_parser') if name in sys.modules])"
    )
    assert python(program).splitlines()[-1] == "[]"


def test_the_operator_runs_without_the_packages_of_the_command_line() -> None:
    program = (
        "import sys\nfor name in ('rich', 'celpy'): sys.modules[name] = None\n"
        "import serin.controller.operator\nsys.argv = ['serin', 'run', '--help']\n"
        "from serin.__main__ import main\nmain()"
    )
    assert python(program).startswith("usage: serin run")


def test_a_rejection_is_not_said_of_a_spec_that_the_operator_has_not_seen() -> None:
    frame = next(one for one in film(stories.bad_candidate_again_and_retry) if one.facts.reason == "RejectedContent")
    assert "is rejected" in headline(frame.facts)
    body = {**frame.body, "metadata": {**frame.body["metadata"], "generation": frame.facts.generation + 1}}
    body["spec"] = {**body["spec"], "model": {**body["spec"]["model"], "version": "99"}}
    unseen = gather(body, frame.now)
    assert headline(unseen).endswith("Serin has not looked at the newest spec yet")
    (retry,) = (one for one in ASKS if one.verb == "retry")
    assert retry.refuse(unseen) is None, "`kubectl apply` and `serin retry` may follow each other at once"


class TestNumbers:
    """What is left, counted down between two looks of the operator."""

    def test_time_counts_down_by_the_clock_of_the_reader(self) -> None:
        frame = next(one for one in film(stories.good_candidate) if one.facts.reason == "Baking")
        later = gather(frame.body, frame.now + 18)
        assert seconds_left(later) == 42.0
        assert "42s left" in waiting(later)
        assert seconds_left(gather(frame.body, frame.now + 600)) == 0.0

    def test_requests_of_the_verdict_and_of_the_step(self) -> None:
        frame = next(one for one in film(stories.good_candidate) if one.facts.reason == "Baking")
        body = frame.body | {"status": {**frame.body["status"]}}
        metric = body["status"]["metrics"][0] | {"verdict": "Inconclusive", "needed": 1500, "requests": 100}
        body["status"]["metrics"] = [metric]
        assert requests_left(gather(body, frame.now)) == 1500
        assert "about 1,500 more candidate requests left" in waiting(gather(body, frame.now))
        metric["needed"] = 0
        steps = [{"weight": 5, "bake": "60s", "minRequests": 500}]
        body["spec"] = frame.body["spec"] | {"strategy": {"canary": {"steps": steps}}}
        assert requests_left(gather(body, frame.now)) == 400

    def test_an_invalid_spec_changes_nothing_that_serves(self) -> None:
        frame = film(stories.first_version)[-1]
        status = {**frame.body["status"], "reason": "InvalidSpec", "message": "spec.config: rename one of them"}
        body = {**frame.body, "status": status}
        body["spec"] = {**body["spec"], "config": {"a-b": "1", "a_b": "2"}}
        facts = gather(body, frame.now)
        assert headline(facts) == "fraud serves model 1; the new spec cannot work and changes nothing"
        assert "serin lint -f FILE" in " ".join(explain(facts))
