"""Webhooks that the platform has set up: where they are, who may use them, and how an event is sent there.

A webhook is told in the format of what listens there: CloudEvents, Alertmanager's API, or Slack's incoming webhooks.
Users name a webhook and never write an address: the operator reaches what their pods may not, so an address of theirs
would lend them its place in the network. Credentials are files of a Secret that is mounted; they are read anew for each
event, and no message says anything of them. Nor is an answer's body read: its status says all that Serin needs.
"""

import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from serin import __version__
from serin.api import names
from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.notifications import Happening, Receiver
from serin.api.times import rfc3339

TIMEOUT_SECONDS: Final = 10.0
_LONGEST_URL: Final = 4096
# Statuses that speak of the event and not of the webhook or of who asks.
_REFUSALS: Final = frozenset({400, 406, 409, 413, 415, 422})
# Nothing is there that takes events: as long as the address is wrong it is so for each of them.
_GONE: Final = frozenset({404, 405, 410})
_DENIED: Final = frozenset({401, 403})


class Format(StrEnum):
    """What listens at a webhook's address."""

    CLOUD_EVENTS = "CloudEvents"
    ALERTMANAGER = "Alertmanager"
    SLACK = "Slack"


_CONTENT_TYPES: Final = {
    Format.CLOUD_EVENTS: "application/cloudevents+json; charset=utf-8",
    Format.ALERTMANAGER: "application/json",
    Format.SLACK: "application/json; charset=utf-8",
}


class WebhookError(ValueError):
    """The settings of the webhooks are wrong; the message is for whoever runs Serin."""


class NotTaken(Exception):
    """The webhook has not taken an event; the message is for users, and names no address.

    `refused`: it has answered that this one is wrong, so that another one may be taken.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Webhook:
    """`namespaces`: whose deployments may use it, none means all. `url`: "" when the credentials have it.

    `credentials`: a folder with any of token, ca.crt, url. `events`: what it is told of every deployment that it is
    open to, unless that names it itself.
    """

    name: str
    url: str
    namespaces: frozenset[str] = frozenset()
    credentials: Path | None = None
    format: Format = Format.CLOUD_EVENTS
    events: frozenset[Happening] = frozenset()

    def is_open_to(self, namespace: str) -> bool:
        """Whether deployments of a namespace may use it."""
        return not self.namespaces or namespace in self.namespaces


Post = Callable[[Webhook, JsonObject | list[JsonObject]], Awaitable[None]]


def webhook_of(webhooks: Mapping[str, Webhook], name: str, namespace: str) -> Webhook:
    """The webhook that a deployment of a namespace names. Raises NotTaken."""
    webhook = webhooks.get(name)
    if webhook is not None and webhook.is_open_to(namespace):
        return webhook
    known = sorted(one.name for one in webhooks.values() if one.is_open_to(namespace))
    there = f"there are: {', '.join(known)}" if known else "there is none"
    raise NotTaken(f"no webhook {name} is set up for this namespace ({there})")


def told_of_all(webhooks: Mapping[str, Webhook], namespace: str) -> tuple[Receiver, ...]:
    """Who is told of each deployment of a namespace, whether or not its spec names them."""
    found = (one for one in webhooks.values() if one.events and one.is_open_to(namespace))
    return tuple(Receiver(one.name, one.events) for one in found)


def read_webhooks(text: str, credentials: Path) -> Mapping[str, Webhook]:
    """From JSON, a list of {"name", "url", "namespaces", "format", "events"}. `credentials`: has a folder of each name.

    Raises WebhookError.
    """
    try:
        rows = json.loads(text or "[]")
        found = [_webhook(row, credentials) for row in rows]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        words = str(error) if isinstance(error, WebhookError) else f"write [{{name: ..., url: ...}}] ({error!r})"
        raise WebhookError(f"SERIN_WEBHOOKS: {words}") from None
    names = [one.name for one in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise WebhookError(f"SERIN_WEBHOOKS: {', '.join(sorted(twice))} is there twice: rename one")
    return {one.name: one for one in found}


def _webhook(row: Mapping[str, Any], credentials: Path) -> Webhook:
    name, url, form = str(row["name"]), str(row.get("url") or ""), str(row.get("format") or Format.CLOUD_EVENTS)
    folder = credentials / name
    there = folder if folder.is_dir() else None
    if url and not _is_url(url):
        raise WebhookError(f"{name}: write a URL that begins with https:// or http://, without a password")
    if not url and there is None:
        raise WebhookError(f"{name}: write its url, or authSecret with the key url")
    if form not in Format.__members__.values():
        raise WebhookError(f"{name}: the format {form} is not known: write one of {', '.join(Format)}")
    events = frozenset(map(str, row.get("events") or ()))
    if unknown := sorted(events - {*Happening}):
        raise WebhookError(f"{name}: the event {unknown[0]} is not known: write one of {', '.join(Happening)}")
    namespaces = frozenset(map(str, row.get("namespaces") or ()))
    return Webhook(name, url, namespaces, there, Format(form), frozenset(map(Happening, events)))


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and not url.username and not url.password
    except ValueError:
        return False


def cloud_event(deployment: Key, happened: str, at: float, subject: str, identity: str, data: JsonObject) -> JsonObject:
    """A CloudEvent 1.0 about a deployment. `happened`: the end of its type; `at`: unix seconds; `identity`: its id."""
    namespace, name = deployment
    return {
        "specversion": "1.0",
        "id": identity,
        "source": f"/apis/{names.API_VERSION}/namespaces/{namespace}/modeldeployments/{name}",
        "type": f"{names.GROUP}.{happened}",
        "subject": subject,
        "time": rfc3339(at),
        "datacontenttype": "application/json",
        "data": data,
    }


async def post(webhook: Webhook, event: JsonObject | list[JsonObject]) -> None:
    """Send an event in the webhook's format (a CloudEvent: structured mode of its HTTP binding).

    Takes 10 seconds at most. Raises NotTaken.
    """
    try:
        own = {"Content-Type": _CONTENT_TYPES[webhook.format], "User-Agent": f"serin/{__version__}"}
        headers, address = {**own, **_authorization(webhook)}, _address(webhook)
        verify: ssl.SSLContext | bool = _certificates(webhook)
        body = json.dumps(event, ensure_ascii=False).encode()
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT_SECONDS), trust_env=False) as session,
            # An answer that leads elsewhere is not followed: the platform has said where it is.
            session.post(address, data=body, headers=headers, ssl=verify, allow_redirects=False) as answer,
        ):
            status = answer.status
    except TimeoutError:
        raise NotTaken(f"no answer within {TIMEOUT_SECONDS:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NotTaken(f"it cannot be reached ({type(error).__name__})") from None
    if not 200 <= status < 300:
        raise NotTaken(f"it answers with status {status}{_meaning(status)}", refused=status in _REFUSALS)


def _meaning(status: int) -> str:
    """What whoever runs Serin can do about a status; "" where the number says all that is known."""
    if 300 <= status < 400:
        return ", which leads elsewhere and is not followed: its url has to be the address that takes events"
    if status in _GONE:
        return ": nothing takes events at its address (any more): its url has to be mended, or it has to be removed"
    return ": it does not let Serin in: the token or url in its Secret has to be mended" if status in _DENIED else ""


def _address(webhook: Webhook) -> str:
    """Where it is. One that is a secret itself is in the Secret."""
    file = webhook.credentials / "url" if webhook.credentials else None
    if file is None or not file.is_file():
        if webhook.url:
            return webhook.url
        raise NotTaken("its Secret has no key url")
    with file.open() as text:
        url = text.read(_LONGEST_URL).strip()
    if not _is_url(url):
        raise NotTaken("the url in its Secret is none: it begins with https:// or http:// and has no password")
    return url


def _authorization(webhook: Webhook) -> dict[str, str]:
    token = webhook.credentials / "token" if webhook.credentials else None
    if token is None or not token.is_file():
        return {}
    return {"Authorization": f"Bearer {token.read_text().strip()}"}


def _certificates(webhook: Webhook) -> ssl.SSLContext | bool:
    ca = webhook.credentials / "ca.crt" if webhook.credentials else None
    return ssl.create_default_context(cafile=str(ca)) if ca is not None and ca.is_file() else True
