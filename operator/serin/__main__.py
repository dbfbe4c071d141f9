"""The command: `serin run` is the operator; more verbs come with the command line."""

import argparse
import asyncio
import sys

from serin import __version__


def main() -> None:
    """Run the verb named by the first argument."""
    parser = argparse.ArgumentParser(prog="serin", description="Progressive delivery of machine-learning models.")
    parser.add_argument("--version", action="version", version=f"serin {__version__}")
    verbs = parser.add_subparsers(title="verbs", required=True)
    _add_run(verbs)
    arguments = parser.parse_args()
    arguments.verb(arguments)


def _add_run(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    # Imported here: other verbs must not pay for what only the operator needs.
    from serin.controller import settings

    parser = verbs.add_parser("run", help="run the operator")
    settings.add_arguments(parser)
    parser.set_defaults(verb=lambda arguments: _run(parser, arguments))


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
