"""The verbs, their options, and how each ends. What they do is elsewhere; this module reads the command line.

`serin VERB` and `kubectl serin VERB` are the same program: hints name the one that was typed.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from serin import __version__
from serin.api import names
from serin.api.json import JsonObject
from serin.api.text import printable
from serin.api.units import parse_duration
from serin.cli.exit_codes import Exit, Stop

_Verb = TypeVar("_Verb", bound=Callable[..., Any])
_HELP: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_EPILOG: Final = "The operator itself is `serin run`. Exit codes and examples: docs/cli.md."


def program() -> str:
    """The command as the user typed it: `serin`, or `kubectl serin` for the plugin."""
    return "kubectl serin" if Path(sys.argv[0]).name.startswith("kubectl") else "serin"


class _Duration(click.ParamType[float]):
    """A duration as resources have it: 90s, 10m, 1h30m."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _complete_name(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the namespace's deployments; nothing when the cluster does not answer."""
    from serin.cli.connection import connect
    from serin.cluster import kinds

    try:
        connection = connect(ctx.params.get("kubeconfig"), ctx.params.get("context"), ctx.params.get("namespace"))
        found = connection.list(kinds.MODEL_DEPLOYMENT, connection.namespace)
    except Exception:  # a shell that waits for a completion is no place for any message
        return []
    return [one["metadata"]["name"] for one in found if one["metadata"]["name"].startswith(incomplete)]


def _complete_snapshot(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Snapshots that one can go back to; nothing when the cluster does not answer."""
    from serin.cli.actions import read, snapshots
    from serin.cli.connection import connect
    from serin.rollout.snapshots import BEST, ways_back

    name = ctx.params.get("name") or ""
    try:
        connection = connect(ctx.params.get("kubeconfig"), ctx.params.get("context"), ctx.params.get("namespace"))
        found = ways_back(snapshots(connection, name), read(connection, name).state)
    except Exception:  # as above
        return []
    return [one for one in (BEST, *(each.name for each in found)) if one.startswith(incomplete)]


_NAME = click.argument("name", shell_complete=_complete_name)
_ACCESS: Final = (
    click.option("-n", "--namespace", help="Namespace. Default: the context's."),
    click.option("--context", help="Context of the kubeconfig. Default: the current one."),
    click.option("--kubeconfig", type=click.Path(path_type=Path), help="Default: KUBECONFIG, or ~/.kube/config."),
)
_FILES = click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path, exists=True, allow_dash=True),
    help="File, folder (all its *.yaml, *.yml and *.json), or - for standard input. Can be repeated.",
)
_OUTPUT = click.option("-o", "--output", type=click.Choice(["json", "yaml"]), help="Print the resource for programs.")


def _access(verb: _Verb) -> _Verb:
    for option in reversed(_ACCESS):
        verb = option(verb)
    return verb


def _connect(options: dict[str, Any]) -> Any:
    from serin.cli.connection import connect

    return connect(options["kubeconfig"], options["context"], options["namespace"])


@click.group(context_settings=_HELP, epilog=_EPILOG)
@click.version_option(__version__, "--version", message="serin %(version)s")
def verbs() -> None:
    """Progressive delivery of machine-learning models: look, explain, check, and ask."""


@verbs.command("list")
@click.option("-A", "--all-namespaces", is_flag=True, help="Of every namespace that you may read.")
@_OUTPUT
@_access
def list_verb(all_namespaces: bool, output: str | None, **options: Any) -> None:
    """List model deployments, what they serve and what is under way."""
    from serin.cli import show
    from serin.cli.connection import explained
    from serin.cli.output import dump, put, say
    from serin.cluster import kinds
    from serin.cluster.protocol import ClusterError
    from serin.explain.facts import gather

    connection = _connect(options)
    where = None if all_namespaces else connection.namespace
    try:
        found = connection.list(kinds.MODEL_DEPLOYMENT, where)
    except ClusterError as error:
        raise explained(error, "ModelDeployment") from error
    found = sorted(found, key=lambda one: (one["metadata"]["namespace"], one["metadata"]["name"]))
    if output:
        dump({"apiVersion": "v1", "kind": "List", "items": [_plain(one) for one in found]}, output)
    elif found:
        facts = [gather(one, connection.now()) for one in found]
        put(show.listing(facts, namespaces=all_namespaces))
    else:
        say(f"no ModelDeployment in {'any namespace' if all_namespaces else f'namespace {where}'}")


@verbs.command()
@_NAME
@click.option("-w", "--watch", is_flag=True, help="Keep showing it, until Ctrl-C.")
@click.option("--plot", is_flag=True, help="Draw how each metric's evidence has come about.")
@click.option("--wait", is_flag=True, help="Show it until the spec's version serves (exit 0) or is rejected (1).")
@click.option("--timeout", type=_Duration(), help="With --wait: give up after this time (exit 2), for example 30m.")
@_OUTPUT
@_access
def status(
    name: str, watch: bool, plot: bool, wait: bool, timeout: float | None, output: str | None, **options: Any
) -> None:
    """Show who serves, how far the candidate is, and what each metric says."""
    from serin.cli import show, watching
    from serin.cli.output import console, dump, put, say
    from serin.cluster.protocol import ClusterError

    _check_combination(watch, wait, timeout, output)
    if plot and (wait or output):
        raise click.UsageError("--plot draws for people: leave --wait and -o away")
    connection = _connect(options)
    if watch or wait:
        code, facts = watching.follow(
            connection, name, until=watching.outcome if wait else lambda _: None, timeout=timeout, plot=plot
        )
        if facts and console().is_terminal:
            put(show.status(facts, plots=plot))
        if code is not Exit.DONE:
            raise Stop(code, watching.ended(code, facts, name, timeout))
        return
    if output:
        from serin.cli.connection import explained
        from serin.cluster import kinds

        try:
            dump(_plain(connection.get(kinds.MODEL_DEPLOYMENT, connection.namespace, name)), output)
        except ClusterError as error:
            raise explained(error, f"ModelDeployment {name} in namespace {connection.namespace}") from error
        return
    facts = _look(connection, name)
    put(show.status(facts, plots=plot))
    if not facts.serves_what_is_wanted:
        say(f"\nWhy, and what to do: {program()} explain {name} -n {connection.namespace}")
    last = facts.state.last_rollback
    if last and last.source == facts.wanted:
        say(f"What is known of the rollback: {program()} report {name} -n {connection.namespace}")
        say(f"The same in a browser: {program()} dashboard -n {connection.namespace}")
    _tell_of_reviews(connection, facts, name)


def _tell_of_reviews(connection: Any, facts: Any, name: str) -> None:
    """Answers that people are to look at, if there are any that the user may see."""
    if facts.spec is None or facts.spec.review is None:
        return
    from serin.cli import reviews
    from serin.cli.output import say

    try:
        waiting = len(reviews.waiting(reviews.read(connection, name)))
    except Stop:  # a viewer may not read them
        return
    if waiting:
        said = "1 answer waits" if waiting == 1 else f"{waiting} answers wait"
        say(f"{said} for people: {program()} review {name} -n {connection.namespace}")


def _check_combination(watch: bool, wait: bool, timeout: float | None, output: str | None) -> None:
    if timeout is not None and not wait:
        raise click.UsageError("--timeout needs --wait: write both, or neither")
    if watch and wait:
        raise click.UsageError("write --watch to look on, or --wait for an exit code, not both")
    if output and (watch or wait):
        raise click.UsageError("-o prints once: leave --watch and --wait away, or use kubectl get md --watch -o json")


def _look(connection: Any, name: str) -> Any:
    from serin.cli.connection import explained
    from serin.cli.look import look
    from serin.cluster.protocol import Retryable

    try:
        return look(connection, name)
    except Retryable as error:
        raise explained(error, name) from error


@verbs.command()
@_NAME
@_OUTPUT
@_access
def explain(name: str, output: str | None, **options: Any) -> None:
    """Say in sentences why it is not moving, what would move it, and what you can do."""
    from serin.cli import show
    from serin.cli.output import dump, put
    from serin.explain import sentences

    connection = _connect(options)
    facts = _look(connection, name)
    told = sentences.explain(facts, program())
    if output:
        dump({"name": name, "namespace": facts.namespace, "reason": facts.reason, "sentences": told}, output)
    else:
        put(show.paragraphs(told))
        _tell_of_reviews(connection, facts, name)


@verbs.command()
@_NAME
@_OUTPUT
@_access
def history(name: str, output: str | None, **options: Any) -> None:
    """List the versions that Serin remembers with what was decided about each, newest first."""
    from serin.api.snapshots import read_snapshot
    from serin.cli import show
    from serin.cli.actions import read
    from serin.cli.connection import explained
    from serin.cli.output import dump, put, say
    from serin.cluster import kinds
    from serin.cluster.protocol import ClusterError
    from serin.explain.snapshots import newest_first

    connection = _connect(options)
    facts = read(connection, name)
    try:
        selector = f"{names.LABEL_MODEL_DEPLOYMENT}={name}"
        found = connection.list(kinds.MODEL_SNAPSHOT, connection.namespace, selector)
    except ClusterError as error:
        raise explained(error, "ModelSnapshot") from error
    bodies = {one["metadata"]["name"]: one for one in found}
    ordered = newest_first(map(read_snapshot, found))
    if output:
        dump({"apiVersion": "v1", "kind": "List", "items": [_plain(bodies[one.name]) for one in ordered]}, output)
    elif ordered:
        put(show.history(facts, ordered))
    else:
        say(f"{name} has no snapshot yet: Serin makes the first one when it looks at the spec")


@verbs.command()
@_NAME
@click.option("--rollback", "number", type=click.IntRange(min=1), default=1, help="Which one. 1: the newest (default).")
@click.option("--html", is_flag=True, help="A web page in one file, in place of Markdown.")
@_access
def report(name: str, number: int, html: bool, **options: Any) -> None:
    """Print the report of a rollback: when, why, on what numbers, and what was different."""
    from serin.cli import reports
    from serin.explain.document import markdown, webpage

    known = reports.read(_connect(options), name)
    if len(known.rollbacks) < number:
        count = len(known.rollbacks)
        told = f"{count} rollbacks are known" if count != 1 else "1 rollback is known"
        raise Stop(Exit.NOT_FOUND, f"there is no rollback {number} of {name}: {told}")
    page = known.page(known.rollbacks[number - 1])
    click.echo(webpage(page) if html else markdown(page), nl=False)


@verbs.command()
@click.option("-A", "--all-namespaces", is_flag=True, help="Begin with every namespace that you may read.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: one that is free.")
@click.option("--browser/--no-browser", default=True, help="Open the page in a browser (default).")
@_access
def dashboard(all_namespaces: bool, port: int, browser: bool, **options: Any) -> None:
    """Serve a web page on this machine, with your own rights: look on, and act, until Ctrl-C."""
    from serin.cli.dashboard.serve import serve

    serve(_connect(options), everywhere=all_namespaces, port=port, browser=browser)


@verbs.command()
@click.argument("one")
@click.argument("other")
@_OUTPUT
@_access
def diff(one: str, other: str, output: str | None, **options: Any) -> None:
    """Compare two versions (snapshots, see history): the fields that differ, and what was measured of each."""
    from serin.api.snapshots import read_snapshot
    from serin.cli import show
    from serin.cli.connection import explained
    from serin.cli.output import dump, put
    from serin.cluster import kinds
    from serin.cluster.protocol import ClusterError

    connection, found = _connect(options), []
    for name in (one, other):
        try:
            found.append(connection.get(kinds.MODEL_SNAPSHOT, connection.namespace, name))
        except ClusterError as error:
            raise explained(error, f"ModelSnapshot {name} in namespace {connection.namespace}") from error
    if output:
        dump({"apiVersion": "v1", "kind": "List", "items": [_plain(body) for body in found]}, output)
        return
    first, second = map(read_snapshot, found)
    put(show.diff(first, second, connection.now()))


def _plain(body: JsonObject) -> JsonObject:
    """Without the bookkeeping of field managers, as kubectl prints it."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    return {**body, "metadata": metadata}


@verbs.command()
@_FILES
@click.option("--built-in-only", is_flag=True, help="For a cluster where users may write no queries of their own.")
@_OUTPUT
def lint(files: tuple[Path, ...], built_in_only: bool, output: str | None) -> None:
    """Check manifests without a cluster: schema and rules of the CRDs, PromQL, and policy that cannot work."""
    from serin.cli.lint.check import BUILT_IN_ONLY, CATALOG, check
    from serin.cli.lint.documents import expand
    from serin.cli.output import console, dump

    report = check(expand(files), BUILT_IN_ONLY if built_in_only else CATALOG)
    if output:
        dump([finding.as_json() for finding in report.findings], output)
    else:
        console().print(report.text(), soft_wrap=True)
    if report.errors:
        sys.exit(Exit.NO)


class _Share(click.ParamType[float]):
    """A share of requests: 1%, or 0.01."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """From 0 to under 1."""
        text = str(value)
        try:
            share = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
        except ValueError:
            share = -1.0
        if not 0.0 <= share < 1.0:
            self.fail(f"{text!r} is no share of the requests: write for example 1% or 0.01", param, ctx)
        return share


@verbs.command()
@_FILES
@click.option("--rps", type=click.FloatRange(0.0, 1e6, min_open=True), help="Requests per second, of all versions.")
@click.option("--error-rate", type=_Share(), help="With --rps: share of stable's requests that are bad. Default: 1%.")
@click.option("--from-cluster", is_flag=True, help="Measure both in the cluster's Prometheus instead.")
@click.option(
    "--prometheus", metavar="URL", help="With --from-cluster: an address of Prometheus that answers from here."
)
@click.option("--runs", type=click.IntRange(20, 100_000), default=100, show_default=True, help="Rollouts to simulate.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Another seed, other dice.")
@_OUTPUT
@_access
def rehearse(
    files: tuple[Path, ...],
    rps: float | None,
    error_rate: float | None,
    from_cluster: bool,
    prometheus: str | None,
    runs: int,
    seed: int,
    output: str | None,
    **options: Any,
) -> None:
    """Say what a policy would do with this traffic, before anything is deployed: what each step sees, and when."""
    if from_cluster == (rps is not None):
        raise click.UsageError("write --rps with the requests per second, or --from-cluster to have them measured")
    if from_cluster and error_rate is not None:
        raise click.UsageError("--from-cluster measures the error rate too: leave --error-rate away")
    if prometheus and not from_cluster:
        raise click.UsageError("--prometheus says where --from-cluster measures: write both, or --rps alone")
    from serin.cli.rehearse import run

    connection = _connect(options) if from_cluster else None
    guess = None if rps is None else (rps, 0.01 if error_rate is None else error_rate)
    sys.exit(run.rehearse(files, guess, connection, prometheus, runs=runs, seed=seed, output=output))


@verbs.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell: source <(serin completion bash)."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(found(verbs, {}, "serin", "_SERIN_COMPLETE").source())


@verbs.command()
@_NAME
@click.option(
    "--label",
    "labels",
    metavar="ITEM=VERDICT",
    multiple=True,
    help="Say what an answer is: right or wrong. ITEM: its name, or the end of it. Can be repeated.",
)
@_OUTPUT
@_access
def review(name: str, labels: tuple[str, ...], output: str | None, **options: Any) -> None:
    """Show answers that people are to look at, or say what they are (spec.guard.review)."""
    from serin.cli import reviews
    from serin.cli.output import dump, put, say

    if labels and output:
        raise click.UsageError("--label says, and -o prints: write one of them")
    said = tuple(_verdict(one) for one in labels)
    connection = _connect(options)
    items = reviews.read(connection, name)
    if said:
        put(reviews.label(connection, name, items, said))
    elif output:
        dump({"apiVersion": "v1", "kind": "List", "items": [_plain(one) for one in items]}, output)
    elif items:
        put(reviews.shown(items, connection.now()))
        if waiting := reviews.waiting(items):
            item = waiting[0]["metadata"]["name"]
            command = f"{program()} review {name} -n {connection.namespace} --label {item}=wrong"
            say(f"\nSay what an answer is, right or wrong: {command}")
    else:
        say(reviews.nothing(connection, name))


def _verdict(text: str) -> tuple[str, str]:
    item, _, verdict = text.partition("=")
    if not item or verdict not in ("right", "wrong"):
        raise click.UsageError(f"--label {text}: write for example --label {item or 'ITEM'}=wrong, or =right")
    return item, verdict


_WAIT = click.option("--wait/--no-wait", default=True, help="Wait for the operator's answer (default).")


@verbs.command()
@_NAME
@click.option(
    "--to",
    metavar="SNAPSHOT",
    shell_complete=_complete_snapshot,
    help="A version that was stable (serin history); best, or best:METRIC: the one that served best by its record. "
    "Default: stable during a rollout, else the stable one before.",
)
@_WAIT
@_access
def rollback(name: str, to: str | None, wait: bool, **options: Any) -> None:
    """Go back to an earlier version: all requests at once, when its pods are ready."""
    from serin.cli.actions import request_rollback
    from serin.cli.output import console

    console().print(request_rollback(_connect(options), name, to, wait=wait), soft_wrap=True)


@verbs.command()
@_NAME
@click.option("-o", "--output", type=click.Choice(["json", "yaml"]), default="yaml", help="Default: yaml.")
@_access
def adopt(name: str, output: str, **options: Any) -> None:
    """Print the patch that makes the winner of an experiment the spec (kubectl patch --type merge --patch-file)."""
    from serin.cli.adopt import patch
    from serin.cli.connection import explained
    from serin.cli.output import dump
    from serin.cluster import kinds
    from serin.cluster.protocol import ClusterError

    connection = _connect(options)
    try:
        body = connection.get(kinds.MODEL_DEPLOYMENT, connection.namespace, name)
    except ClusterError as error:
        raise explained(error, f"ModelDeployment {name} in namespace {connection.namespace}") from error
    dump(patch(body), output)


@verbs.command("kill-switch")
@_NAME
@click.argument("level", type=click.Choice(["candidate", "all", "off"], case_sensitive=False))
@_WAIT
@_access
def kill_switch(name: str, level: str, wait: bool, **options: Any) -> None:
    """Stop versions from answering, at once.

    candidate: everything goes to stable, and no other version starts. all: no version answers, spec.fallback does (503
    without one). off: go on.
    """
    from serin.api.kill_switch import KillSwitch
    from serin.cli.actions import request_kill_switch
    from serin.cli.output import console

    asked = KillSwitch(level.capitalize())
    console().print(request_kill_switch(_connect(options), name, asked, wait=wait), soft_wrap=True)


def _add_actions() -> None:
    from serin.cli.actions import ACTIONS

    for what in ACTIONS:

        def run(name: str, wait: bool, _what: Any = what, **options: Any) -> None:
            from serin.cli.actions import request
            from serin.cli.output import console

            console().print(request(_connect(options), name, _what, wait=wait), soft_wrap=True)

        verb = click.command(what.verb, help=f"{what.help[0].upper()}{what.help[1:]}.")
        verbs.add_command(verb(_NAME(_WAIT(_access(run)))))


def main(arguments: Sequence[str]) -> None:
    """Run the verb named by the first argument and exit."""
    _add_actions()
    try:
        code = verbs.main(list(arguments), prog_name=program(), standalone_mode=False, complete_var="_SERIN_COMPLETE")
    except Stop as stop:
        _fail(stop.message, stop.code)
    except click.UsageError as error:
        error.show()
        sys.exit(Exit.USAGE)
    except click.ClickException as error:
        error.show()
        sys.exit(Exit.USAGE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(Exit.INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has seen enough
        sys.exit(Exit.DONE)
    sys.exit(code if isinstance(code, int) else Exit.DONE)


def complete(arguments: Sequence[str]) -> None:
    """Print the completions of the last argument as kubectl reads them: one a line, then what the shell may add."""
    from click.shell_completion import ShellComplete

    _add_actions()
    *before, incomplete = arguments or ("",)
    found = ShellComplete(verbs, {}, "serin", "_SERIN_COMPLETE").get_completions(list(before), incomplete)
    for one in found:
        if one.type == "plain":
            click.echo(f"{one.value}\t{one.help}" if one.help else one.value)
    files = any(one.type != "plain" for one in found)
    click.echo(":0" if files else ":4")  # cobra's directives: default, and no file names


def _fail(message: str, code: Exit) -> None:
    click.echo(f"{program()}: {printable(message)}", err=True)
    sys.exit(code)
