"""How one operator process is set up: flags of `serin run`, each with an environment variable behind it."""

import argparse
import os
import re
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from serin.api.names import SYSTEM_NAMESPACE
from serin.controller.logs import Format
from serin.controller.webhooks import Webhook, WebhookError, read_webhooks
from serin.metrics import prometheus
from serin.metrics.enforced import Trust
from serin.metrics.promql import NAMESPACE_LABEL, Matcher, PromQLError
from serin.routers import ROUTERS

LEVELS = ("debug", "info", "warning", "error")

_URL = re.compile(r"https?://[^\s/<>|]+/*")
_YES_NO = ("true", "false")
# In the place of matchers: the namespace that Serin runs in, which discovery writes on every series of its pods.
_OWN = "own namespace"


@dataclass(frozen=True, slots=True)
class Settings:
    """`namespace`: Serin's own. `watch`: namespaces to serve, none means all. `identity`: unique per life.

    `trust`: which series of Prometheus are believed, and which of them users may read.
    `webhooks`: by name. `dashboard`: address of the web page, without a slash at its end; "" when there is none.
    `review_port`: 0: nobody looks at answers. `live_counters`: whether the router's own pods are read during rollouts.
    `routers`: values of the flags that routers define for themselves, by the flag's name with underscores.
    """

    prometheus: prometheus.Settings
    trust: Trust
    namespace: str
    watch: tuple[str, ...]
    kubeconfig: Path | None
    lease: str
    identity: str
    http_port: int
    review_port: int
    workers: int
    log_format: Format
    log_level: str
    routers: Mapping[str, object]
    webhooks: Mapping[str, Webhook]
    dashboard: str
    live_counters: bool = True


def add_arguments(parser: argparse.ArgumentParser, environment: Mapping[str, str] = os.environ) -> None:
    """Define the flags; a variable of the environment is a flag's default."""

    def flag(name: str, default: str, text: str, **more: object) -> None:
        variable = "SERIN_" + name.upper().replace("-", "_")
        value = environment.get(variable, default)
        parser.add_argument(f"--{name}", default=value, help=f"{text} [{variable}]", **more)  # type: ignore[arg-type]

    flag("prometheus-url", "", "address of Prometheus, for example http://prometheus.monitoring:9090")
    flag("router-matchers", _OWN, "label matchers that only the router's series fit; none: any series is believed")
    flag(
        "tenant-label", NAMESPACE_LABEL, "label that every selector of a user's query gets; none: users read all series"
    )
    flag("user-queries", "true", "whether users may write queries, or use built-in templates alone", choices=_YES_NO)
    text = "whether rollouts are judged by what the router's pods count, read from them, or by Prometheus alone"
    flag("live-counters", "true", text, choices=_YES_NO)
    flag(
        "webhooks",
        "[]",
        "who may be told of what, as JSON: [{name: ..., url: ..., namespaces: [...], format: ..., events: [...]}]",
    )
    flag(
        "webhook-credentials", "/etc/serin/webhooks", "folder with a folder of each webhook's name: token, ca.crt, url"
    )
    flag("dashboard-url", "", "address of the web page, to which notifications lead; none: to nothing")
    flag("namespace", SYSTEM_NAMESPACE, "namespace that Serin itself runs in")
    flag("watch-namespaces", "", "namespaces to serve, separated by commas; none: all")
    flag("kubeconfig", "", "kubeconfig file; none: $KUBECONFIG, or the pod's ServiceAccount")
    flag("lease-name", "serin", "name of the Lease that elects the replica that acts")
    flag("identity", socket.gethostname(), "name of this replica")
    flag("http-port", "8080", "port of /healthz, /readyz and /metrics", type=int)
    flag("review-port", "0", "port on which the guard tells what people look at; 0: nobody looks", type=int)
    flag("workers", "4", "how many model deployments are looked at side by side", type=int)
    flag("log-format", Format.JSON.value, "json or console", choices=[form.value for form in Format])
    flag("log-level", "info", "what is worth a line", choices=LEVELS)
    for router in ROUTERS.values():
        router.add_arguments(flag)


def read(arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from parsed flags. Raises prometheus.SettingsError."""
    url = {"SERIN_PROMETHEUS_URL": arguments.prometheus_url}
    return Settings(
        prometheus=prometheus.read_settings({**environment, **url}),
        trust=_trust(arguments),
        namespace=arguments.namespace,
        watch=tuple(one.strip() for one in arguments.watch_namespaces.split(",") if one.strip()),
        kubeconfig=Path(arguments.kubeconfig) if arguments.kubeconfig else None,
        lease=arguments.lease_name,
        identity=f"{arguments.identity}-{uuid.uuid4().hex[:8]}",
        http_port=arguments.http_port,
        review_port=arguments.review_port,
        workers=arguments.workers,
        log_format=Format(arguments.log_format),
        log_level=arguments.log_level,
        routers=vars(arguments),
        webhooks=_webhooks(arguments),
        dashboard=_dashboard(arguments.dashboard_url),
        live_counters=arguments.live_counters == "true",
    )


def _trust(arguments: argparse.Namespace) -> Trust:
    router = arguments.router_matchers
    try:
        return Trust.read(
            Matcher("namespace", "=", arguments.namespace).render() if router == _OWN else router,
            arguments.tenant_label,
            arguments.user_queries == "true",
        )
    except PromQLError as error:
        raise prometheus.SettingsError(f"SERIN_ROUTER_MATCHERS or SERIN_TENANT_LABEL: {error}") from error


def _dashboard(url: str) -> str:
    if url and not _URL.fullmatch(url):
        raise prometheus.SettingsError(f"SERIN_DASHBOARD_URL: write for example https://serin.example, not {url!r}")
    return url.rstrip("/")


def _webhooks(arguments: argparse.Namespace) -> Mapping[str, Webhook]:
    try:
        return read_webhooks(arguments.webhooks, Path(arguments.webhook_credentials))
    except WebhookError as error:
        raise prometheus.SettingsError(str(error)) from error


def parse(words: Sequence[str]) -> Settings:
    """Settings from command-line words; exits with a message when they are wrong."""
    parser = argparse.ArgumentParser(prog="serin run")
    add_arguments(parser)
    arguments = parser.parse_args(words)
    try:
        return read(arguments)
    except prometheus.SettingsError as error:
        parser.error(str(error))
