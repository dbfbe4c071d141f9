"""Small suites in two processes: who runs what, and that no process ends unnoticed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ("-p", "xdist", "-p", "tests.side_by_side", "-p", "tests.budget", "-p", "no:cacheprovider")
OPTIONS = ("--numprocesses=2", "--dist=loadscope", "--max-worker-restart=0", "--budget")
CONFTEST = """
import os
from pathlib import Path
import pytest

@pytest.fixture(scope="session")
def control_plane():
    started = Path(f"started-{os.getpid()}")
    started.touch()
    yield
    started.rename(f"stopped-{os.getpid()}")
"""


def suite(folder: Path, **modules: str) -> subprocess.Popen[str]:
    """Start a run of these modules, as the Makefile does."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "conftest.py").write_text(CONFTEST)
    for name, text in modules.items():
        (folder / f"test_{name}.py").write_text(text)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = (sys.executable, "-m", "pytest", *PLUGINS, *OPTIONS)
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


def ended(run: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, all of the output, and its last line."""
    text, _ = run.communicate(timeout=120)
    return run.returncode, text, text.splitlines()[-1]


WHERE = "import os, time\nfrom pathlib import Path\n"


def test_a_cluster_is_started_once_and_all_is_reported_as_one(tmp_path: Path) -> None:
    uses = WHERE + "def test_it(control_plane): time.sleep(0.5)\ndef test_more(control_plane): pass\n"
    alone = WHERE + "def test_it(): Path(f'alone-{os.getpid()}').touch()\n"
    status, text, last = ended(suite(tmp_path, a=uses, b=uses, c=alone))
    assert status == 0, text
    assert re.fullmatch(r"=+ 5 passed in .*=+", last)
    (stopped,), (beside,) = tmp_path.glob("stopped-*"), tmp_path.glob("alone-*")
    assert stopped.name.partition("-")[2] != beside.name.partition("-")[2]
    assert re.search(r"^all +5 ", text, re.MULTILINE), "the budget is printed"


NODE = """
import os, time
from pathlib import Path
import pytest

@pytest.fixture(scope="session")
def node_cluster():
    pass

def meets(other):
    end = time.monotonic() + 20
    while not Path(other).exists() and time.monotonic() < end:
        time.sleep(0.01)
    return Path(other).exists()
"""


def test_modules_of_the_node_run_side_by_side_and_one_that_is_marked_runs_alone(tmp_path: Path) -> None:
    beside = NODE + "def test_it(node_cluster): Path({own!r}).touch(); assert meets({other!r})\n"
    begins = "def test_it(node_cluster):\n    Path('busy').touch()\n    time.sleep(0.3)\n"
    ends = "def test_more(node_cluster):\n    time.sleep(0.3)\n    Path('busy').unlink()\n"
    alone = NODE + "pytestmark = pytest.mark.alone\n" + begins + ends
    # Still at work when the first process has nothing left but what runs alone.
    longest = NODE + "def test_it(node_cluster):\n    for _ in range(300):\n"
    longest += "        assert not Path('busy').exists()\n        time.sleep(0.01)\n"
    short = NODE + "def test_it(node_cluster): pass\n"
    modules = {"a": beside.format(own="a", other="b"), "b": beside.format(own="b", other="a")}
    status, text, last = ended(suite(tmp_path, **modules, c=alone, d=short, e=longest))
    assert status == 0, text
    assert re.fullmatch(r"=+ 6 passed.* in .*=+", last)


@pytest.mark.parametrize("marker", ["xdist_group('costly')", "stories"])
def test_modules_with_the_same_marker_share_a_process(tmp_path: Path, marker: str) -> None:
    marked = WHERE + f"import pytest\npytestmark = pytest.mark.{marker}\n"
    uses = marked + "def test_it(): time.sleep(0.5); Path(f'costly-{os.getpid()}').touch()\n"
    alone = WHERE + "def test_it(): time.sleep(0.1); Path(f'alone-{os.getpid()}').touch()\n"
    status, text, _ = ended(suite(tmp_path, a=uses, b=uses, c=uses, d=alone))
    assert status == 0, text
    (costly,), (beside,) = tmp_path.glob("costly-*"), tmp_path.glob("alone-*")
    assert costly.name.partition("-")[2] != beside.name.partition("-")[2]


def test_a_process_that_dies_is_a_failure(tmp_path: Path) -> None:
    dies = WHERE + "def test_it(): os.kill(os.getpid(), 9)\n"
    status, text, last = ended(suite(tmp_path, a=dies, b="def test_it(): pass\n"))
    assert status == 1, text
    assert re.fullmatch(r"=+ 1 failed, .*in .*=+", last)
    assert "crashed while running 'test_a.py::test_it'" in text


@pytest.mark.parametrize(("module", "status"), [("raise ValueError\n", 1), ("", 5)], ids=["broken", "empty"])
def test_what_cannot_be_collected_is_no_pass(module: str, status: int, tmp_path: Path) -> None:
    assert ended(suite(tmp_path, a=module))[0] == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_first_process_ends_what_the_others_started(number: int, tmp_path: Path) -> None:
    waits = WHERE + "def test_it(control_plane):\n    Path('waits').touch()\n    time.sleep(600)\n"
    run = suite(tmp_path, a=waits, b="def test_it(): pass\n")
    while not (tmp_path / "waits").exists():
        assert run.poll() is None
        time.sleep(0.02)
    run.send_signal(number)
    status, text, last = ended(run)
    assert status == 2, text
    assert re.fullmatch(r"=+ .* in .*=+", last)
    (stopped,) = tmp_path.glob("stopped-*")
    assert not Path("/proc", stopped.name.partition("-")[2]).exists()
