"""What the command line promises beyond its texts: a light start, and nothing that the operator's image lacks."""

import subprocess
import sys


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


def test_the_operator_runs_without_the_packages_of_the_command_line_and_without_46_mib_of_scipy() -> None:
    """scipy.special has all distributions that are needed; scipy.stats brings half of scipy and a second of CPU."""
    program = (
        "import sys\nfor name in ('rich', 'celpy', 'scipy.stats', 'scipy.optimize'): sys.modules[name] = None\n"
        "import serin.controller.operator\nsys.argv = ['serin', 'run', '--help']\n"
        "from serin.__main__ import main\nmain()"
    )
    assert python(program).startswith("usage: serin run")


def test_the_page_in_the_cluster_runs_without_the_packages_of_the_command_line() -> None:
    program = (
        "import sys\nfor name in ('rich', 'celpy', 'kubernetes', 'kopf', 'numpy'): sys.modules[name] = None\n"
        "import serin.cli.dashboard.in_cluster\nsys.argv = ['serin', 'serve-dashboard', '--help']\n"
        "from serin.__main__ import main\nmain()"
    )
    assert python(program).startswith("usage: serin serve-dashboard")
