"""What is read of the cluster for each page, what an answer to a question does, and the frame around every page.

All of it is what the command line reads and does, by the same functions; an action is refused for the same reasons.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from serin.api.kill_switch import KillSwitch
from serin.api.snapshots import Snapshot, read_snapshot
from serin.cli import reports
from serin.cli.actions import ACTIONS, Action, read, request, request_kill_switch, request_rollback, snapshots
from serin.cli.connection import Connection, explained
from serin.cli.dashboard import views
from serin.cli.dashboard.markup import NOTHING, Html, joined, tag
from serin.cli.dashboard.views import View
from serin.cli.exit_codes import Exit, Stop
from serin.cli.look import look
from serin.cluster import kinds
from serin.cluster.protocol import ClusterError, Retryable
from serin.explain.facts import Facts, gather
from serin.rollout.snapshots import BEST, PREVIOUS, ways_back

_T = TypeVar("_T")
_KILL_SWITCH: Final = "kill-switch"
_ROLLBACK: Final = "rollback"
_LEVELS: Final = {
    KillSwitch.OFF: "Off: versions answer and start",
    KillSwitch.CANDIDATE: "Candidate: everything goes to stable, and no other version starts",
    KillSwitch.ALL: "All: no version answers; spec.fallback does, and without one clients get 503",
}
_MOST_NAMESPACES: Final = 100  # each costs a request
_ACCOUNT: Final = "system:serviceaccount:"
# What takes requests from a version is done although something has moved since the question: nothing may delay it.
_MOVES_ON: Final = ("approve", "promote", "resume", "retry")


# ── Where one begins ──────────────────────────────────────────────────────────────────────────────────────────────────


def start(connection: Connection, root: str, user: str) -> View | None:
    """The namespaces whose model deployments a user may list; None: those of all. Raises Stop and Retryable."""

    def may(namespace: str | None) -> bool:
        what = "SelfSubjectAccessReview"
        return _answered(lambda: connection.may("list", kinds.MODEL_DEPLOYMENT, namespace), what)

    return None if may(None) else views.namespaces(root, [one for one in _namespaces(connection, user) if may(one)])


def _namespaces(connection: Connection, user: str) -> Sequence[str]:
    """Those of the cluster; when the user may not list them, the one that he comes from."""
    query = {"limit": str(_MOST_NAMESPACES)}
    try:
        found = _answered(lambda: connection.read("/api/v1/namespaces", query), "Namespace").get("items") or ()
    except Stop:
        account = user.removeprefix(_ACCOUNT)
        return [account.partition(":")[0]] if account != user else []
    return [str(one["metadata"]["name"]) for one in found]


# ── Reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def listing(connection: Connection, root: str, where: str | None) -> View:
    """The list of a namespace, None: of all. Raises Stop and Retryable."""
    found = _answered(lambda: connection.list(kinds.MODEL_DEPLOYMENT, where), "ModelDeployment")
    ordered = sorted(found, key=lambda one: (one["metadata"]["namespace"], one["metadata"]["name"]))
    return views.listing(root, where, [gather(one, connection.now()) for one in ordered])


def deployment(connection: Connection, root: str, name: str) -> View:
    """One deployment, with its versions as far as the user may list them. Raises Stop and Retryable."""
    facts = look(connection, name)
    return views.deployment(root, facts, _versions(connection, name))


def _versions(connection: Connection, name: str) -> Sequence[Snapshot]:
    try:
        return tuple(snapshots(connection, name).values())
    except Stop as stop:
        if stop.code is Exit.NO_ACCESS:
            return ()
        raise


def diff(connection: Connection, before: str, after: str) -> View:
    """Two versions. Raises Stop and Retryable."""
    where = connection.namespace

    def snapshot(name: str) -> Snapshot:
        what = f"ModelSnapshot {name} in namespace {where}"
        return read_snapshot(_answered(lambda: connection.get(kinds.MODEL_SNAPSHOT, where, name), what))

    return views.diff(snapshot(before), snapshot(after), connection.now())


def report(connection: Connection, name: str, snapshot: str) -> View:
    """The report of the last rollback of a version. Raises Stop."""
    known = reports.read(connection, name)
    found = next((one for one in known.rollbacks if one.source.name == snapshot), None)
    if found is None:
        raise Stop(Exit.NOT_FOUND, f"no rollback of {snapshot} is known")
    return views.report(known.page(found))


def _answered(request: Callable[[], _T], what: str) -> _T:
    """Raises Stop, and Retryable for what another try may get."""
    try:
        return request()
    except Retryable:
        raise
    except ClusterError as error:
        raise explained(error, what) from error


# ── Questions and answers ─────────────────────────────────────────────────────────────────────────────────────────────


def ask(connection: Connection, root: str, name: str, verb: str) -> View:
    """The question whether a verb is meant. Raises Stop when it fits nothing now, or is none."""
    facts = read(connection, name)
    if verb == _KILL_SWITCH:
        options = [(level.value, words) for level, words in _LEVELS.items()]
        fields = views.choice("level", options, facts.killed.level.value)
        return views.question(root, facts, verb, "Stop versions from answering, at once.", fields, "")
    if verb == _ROLLBACK:
        words = "Go back to an earlier version: all requests at once, when its pods are ready."
        return views.question(root, facts, verb, words, _ways(connection, facts), "")
    action = _action(verb)
    if why := action.refuse(facts):
        raise Stop(Exit.NO, f"nothing to {verb}: {why}")
    return views.question(root, facts, verb, f"{action.help[0].upper()}{action.help[1:]}.", Html(""), _stamp(facts))


def _ways(connection: Connection, facts: Facts) -> Html:
    found = ways_back(snapshots(connection, facts.name), facts.state)
    words = "stable, which ends the rollout" if facts.rollout else "the version that was stable before"
    options = [(PREVIOUS, f"Back to {words}")]
    options += [(BEST, "The version that served best by its record")] if len(found) > 1 else []
    options += [
        (one.name, f"model {one.model_version} ({one.name})" if one.model_version else one.name) for one in found
    ]
    return views.choice("to", options, PREVIOUS)


def act(connection: Connection, name: str, verb: str, form: Mapping[str, str]) -> str:
    """Do what the command line does, and return what it tells. Raises Stop."""
    if verb == _KILL_SWITCH:
        level = next((one for one in KillSwitch if one.value == form.get("level")), None)
        if level is None:
            raise Stop(Exit.USAGE, f"choose one of {', '.join(KillSwitch)}")
        return request_kill_switch(connection, name, level, wait=True)
    if verb == _ROLLBACK:
        return request_rollback(connection, name, form.get("to") or None, wait=True)
    action = _action(verb)
    if verb in _MOVES_ON and form.get("stamp") != _stamp(read(connection, name)):
        raise Stop(Exit.NO, f"{name} has moved on since you looked: nothing was asked. Look again, then {verb}.")
    return request(connection, name, action, wait=True)


def _action(verb: str) -> Action:
    found = next((one for one in ACTIONS if one.verb == verb), None)
    if found is None:
        raise Stop(Exit.NOT_FOUND, "there is no such action")
    return found


def _stamp(facts: Facts) -> str:
    """What is under way: another version, or another step, is not what the question was about."""
    rollout = facts.rollout
    return f"{facts.wanted} {rollout.candidate} {rollout.stage.index}" if rollout else f"{facts.wanted}"


# ── The frame ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def page(
    root: str,
    view: View,
    namespace: str = "",
    name: str = "",
    *,
    live: str = "",
    before: Html = NOTHING,
    user: str = "",
) -> str:
    """The whole page. `namespace`, `name`: where one comes back to. `live`: where its changes come from.

    `user`: who is signed in, "" where nobody has to.
    """
    ways = [tag("a", "Model deployments", href=f"{root}/")]
    ways += [tag("a", namespace, href=views.address(root, namespace))] if namespace else []
    ways += [tag("a", name, href=views.address(root, namespace, name))] if name else []
    field = tag("input", type="text", name="namespace", size="16", aria_label="Namespace", placeholder="all namespaces")
    go = tag("form", field, " ", _button("Go"), method="get", action=f"{root}/go")
    out = tag("form", user, " ", _button("Sign out"), method="post", action=f"{root}/sign-out", class_="who")
    return _whole(root, view, tag("header", *ways, go, out if user else ""), live=live, before=before, local=not user)


def sign_in(message: str, to: str) -> str:
    """The page on which a user signs in. `message`: why, "" when he has just come; `to`: where he wants to go."""
    why = tag("div", tag("p", message), class_="note bad", role="alert") if message else NOTHING
    field = tag("input", type="password", name="token", id="token", required=True, autocomplete="off", autofocus=True)
    form = tag(
        "form",
        tag("label", "Token", " ", field, for_="token"),
        tag("input", type="hidden", name="to", value=to),
        _button("Sign in"),
        method="post",
        action="/sign-in",
    )
    words = (
        "What you see and do here, you see and do with your own rights in the cluster. Paste a token that its "
        "API server takes. For a ServiceAccount:"
    )
    example = tag("pre", "kubectl create token NAME -n NAMESPACE --duration 1h")
    kept = "It is kept in the memory of this server until you sign out or it ends, and nowhere else."
    view = View("Sign in", {}, joined((why, form, tag("p", words), example, tag("p", kept))))
    return _whole("", view, tag("header"), local=False)


def _button(words: str) -> Html:
    return tag("button", words, type="submit", class_="button")


def _whole(root: str, view: View, header: Html, *, live: str = "", before: Html = NOTHING, local: bool) -> str:
    """`local`: the server is the user's own process."""
    lost = tag(
        "div",
        "The connection to serin dashboard is lost; trying again.",
        " If it was ended, start it again." if local else "",
        id="lost",
        class_="note bad",
        role="alert",
        hidden=True,
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{view.title} · serin"),
        tag("link", rel="stylesheet", href=f"{root}/static/page.css"),
        tag("script", src=f"{root}/static/page.js", defer=True),
    )
    main = tag(
        "main",
        lost,
        tag("h1", view.title),
        before,
        tag("div", id="trouble", aria_live="polite"),
        tag("div", view.whole, id="view"),
        id="main",
    )
    skip = tag("a", "Skip to the page", href="#main", class_="skip")
    body = tag("body", skip, header, main, data_live=live or None)
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"
