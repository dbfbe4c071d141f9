"""The command: `serin run` is the operator; more verbs come with the command line."""

import sys


def main() -> None:
    """Run the verb named by the first argument."""
    sys.exit("serin: nothing to run yet")


if __name__ == "__main__":
    main()
