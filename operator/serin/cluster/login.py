"""Who Serin is to the API server: one login for its own requests and for kopf's watches.

In a pod the ServiceAccount token is read again every minute, since it expires; a kubeconfig's token file or credential
plugin likewise. It refuses to store a token anywhere else, and to fall back from a kubeconfig that was named.
"""

import os
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

_REFRESH_SECONDS = 60.0


class LoginError(Exception):
    """No usable credentials; the message says what to set."""


async def log_in(kubeconfig: Path | None = None) -> Configuration:
    """Find credentials: `kubeconfig` when given, else $KUBECONFIG, else the pod's own account, else ~/.kube/config.

    Raises LoginError with the places that were tried.
    """
    named = str(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG", "")
    configuration = Configuration()
    try:
        if not named and os.environ.get("KUBERNETES_SERVICE_HOST"):
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await _load_kubeconfig(configuration, named or str(Path.home() / ".kube" / "config"))
    except (ConfigException, OSError) as error:
        raise LoginError(
            f"no access to a cluster: {error}. Set --kubeconfig or KUBECONFIG to a kubeconfig file, or run in a pod "
            "with a ServiceAccount"
        ) from error
    configuration.proxy = configuration.proxy or _proxy_of_environment(configuration.host)
    # Else each request looks for a proxy and for ~/.netrc anew, in a thread: a tenth of what it costs.
    configuration.client_session_kwargs = {"trust_env": False}
    return configuration


def _proxy_of_environment(server: str) -> str | None:
    """What HTTPS_PROXY, HTTP_PROXY and NO_PROXY say of a server."""
    url = urlsplit(server)
    return None if proxy_bypass(url.netloc) else getproxies().get(url.scheme)


async def _load_kubeconfig(configuration: Configuration, path: str) -> None:
    loader = await load_kube_config(  # type: ignore[no-untyped-call]
        config_file=path, client_configuration=configuration, persist_config=False
    )
    due = time.monotonic() + _REFRESH_SECONDS

    async def refresh(current: Configuration) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + _REFRESH_SECONDS
            await loader.load_and_set(current)

    configuration.refresh_api_key_hook = refresh  # type: ignore[assignment]


def watch_session(
    configuration: Configuration,
    *traces: aiohttp.TraceConfig,
    middlewares: Sequence[aiohttp.ClientMiddlewareType] = (),
) -> aiohttp.ClientSession:
    """Open a session for long-lived watches with this login; every request carries the token of its moment."""

    async def authorize(
        _session: aiohttp.ClientSession, _context: SimpleNamespace, params: aiohttp.TraceRequestStartParams
    ) -> None:
        token = await configuration.get_api_key_with_prefix("BearerToken")
        if token:
            params.headers["Authorization"] = token

    login = aiohttp.TraceConfig()
    login.on_request_start.append(authorize)
    proxy: str | None = configuration.proxy
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=_tls(configuration)),
        trace_configs=[login, *traces],
        middlewares=middlewares,
        proxy=proxy,
        read_bufsize=2**21,
    )


def _tls(configuration: Configuration) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert, cadata=configuration.ca_cert_data)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
