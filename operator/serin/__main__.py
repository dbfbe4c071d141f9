"""The command: `serin run` is the operator, every other verb the command line's.

But `serin guard`, which is the guard, and `serin serve-dashboard`, the web page in the cluster.
"""

import argparse
import asyncio
import os
import sys


def main() -> None:
    """Run the verb named by the first argument."""
    arguments = sys.argv[1:]
    # Imported where needed: the operator's image has no packages of the command line, and a verb must start quickly.
    if arguments[:1] == ["run"]:
        _run_operator(arguments[1:])
    elif arguments[:1] == ["guard"]:
        _run_guard(arguments[1:])
    elif arguments[:1] == ["serve-dashboard"]:
        _run_dashboard(arguments[1:])
    else:
        from serin.cli.app import main as verbs

        verbs(arguments)


def complete() -> None:
    """Answer kubectl, which asks `kubectl_complete-serin` how to go on after `kubectl serin ...`."""
    from serin.cli.app import complete as completions

    completions(sys.argv[1:])


def _run_operator(arguments: list[str]) -> None:
    from serin.controller import settings

    parser = argparse.ArgumentParser(prog="serin run", description="Run the operator.")
    settings.add_arguments(parser)
    _run(parser, parser.parse_args(arguments))


def _run_guard(arguments: list[str]) -> None:
    from serin.guard import process

    parser = argparse.ArgumentParser(prog="serin guard", description="Check models' answers for the router.")
    process.add_arguments(parser)
    process.main(_parsed(parser, arguments))


def _run_dashboard(arguments: list[str]) -> None:
    from serin.cli.dashboard import in_cluster

    words = "Serve the web page in the cluster, for users who sign in with tokens of theirs."
    parser = argparse.ArgumentParser(prog="serin serve-dashboard", description=words)
    in_cluster.add_arguments(parser)
    in_cluster.main(parser, _parsed(parser, arguments))


def _parsed(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """The flags of a process beside the operator; its log goes on as they say."""
    from serin.controller import logs

    form = os.environ.get("SERIN_LOG_FORMAT", logs.Format.JSON.value)
    text = "json or console [SERIN_LOG_FORMAT]"
    parser.add_argument("--log-format", default=form, choices=[one.value for one in logs.Format], help=text)
    chosen = parser.parse_args(arguments)
    logs.configure(logs.Format(chosen.log_format), "info")
    return chosen


def _run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    from serin.cluster.login import LoginError
    from serin.controller import logs, settings
    from serin.controller.operator import Operator
    from serin.metrics.prometheus import SettingsError

    try:
        chosen = settings.read(arguments)
    except SettingsError as error:
        parser.error(str(error))
    logs.configure(chosen.log_format, chosen.log_level)

    async def operate() -> None:
        await Operator(chosen).run()

    try:
        asyncio.run(operate())
    except LoginError as error:
        sys.exit(f"serin run: {error}")


if __name__ == "__main__":
    main()
