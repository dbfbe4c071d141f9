"""PromQL as text: placeholders, and label matchers. The grammar is in sums.py."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

NAMESPACE_LABEL = "serin_namespace"
DEPLOYMENT_LABEL = "serin_model_deployment"
SNAPSHOT_LABEL = "serin_snapshot"

OWN_PLACEHOLDERS = ("version", "candidate", "stable")
PLACEHOLDER = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")

_REGEX_SYNTAX = re.compile(r"[\\.+*?()\[\]{}^$]")  # all of RE2's but |


class PromQLError(ValueError):
    """The user's PromQL cannot be used; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Version:
    """Whose series are meant: a deployment and its snapshots (the one under judgement first)."""

    namespace: str
    deployment: str
    snapshots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matcher:
    """One label matcher, `operator` one of = != =~ !~."""

    label: str
    operator: str
    value: str

    def render(self) -> str:
        """Write it as PromQL."""
        quoted = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.label}{self.operator}"{quoted}"'

    def literals(self) -> frozenset[str] | None:
        """The values that it names one by one; None for a regular expression that says more than a|b|c.

        Such an expression is the user's, and only Prometheus evaluates it: Python's `re` can take hours for one.
        """
        if self.operator in ("=", "!="):
            return frozenset((self.value,))
        return None if _REGEX_SYNTAX.search(self.value) else frozenset(self.value.split("|"))

    def accepts(self, labels: Mapping[str, str]) -> bool:
        """Whether a series with these labels fits; a missing label is the empty string, as in Prometheus.

        Raises ValueError for a matcher without literals.
        """
        literals = self.literals()
        if literals is None:
            raise ValueError(f"only Prometheus evaluates {self.render()}")
        return (labels.get(self.label, "") in literals) == (self.operator in ("=", "=~"))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace {{.name}} by values[name]. Raises PromQLError for a name that is not there."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name not in values:
            known = ", ".join(f"{{{{.{one}}}}}" for one in values)
            raise PromQLError(f"{{{{.{name}}}}} is not known here: write one of {known}")
        return values[name]

    return PLACEHOLDER.sub(value, text)


def placeholders(text: str) -> frozenset[str]:
    """Names in {{.name}}."""
    return frozenset(PLACEHOLDER.findall(text))


def check_placeholders(text: str, strings: Iterable[str]) -> frozenset[str]:
    """Names in {{.name}}, all of them known and none in quotes, else PromQLError; `strings`: the quoted parts."""
    used = placeholders(text)
    for name in sorted(used - set(OWN_PLACEHOLDERS)):
        raise PromQLError(
            f"{{{{.{name}}}}} is not known here: write {{{{.candidate}}}}, {{{{.stable}}}} or {{{{.version}}}}, which "
            "select the namespace too"
        )
    if quoted := sorted(name for one in strings for name in placeholders(one)):
        raise PromQLError(
            f"{{{{.{quoted[0]}}}}} stands inside quotes, and it is a list of label matchers: write it among them, as "
            f"in name{{ {{{{.{quoted[0]}}}}} }}"
        )
    return used


def matchers_of(versions: Sequence[Version], *, snapshots: bool = True) -> str:
    """Label matchers, without braces, of the snapshots of one or many deployments: one query serves them all.

    Without `snapshots`: of all that these deployments have ever served.
    """
    found = [
        _one_of(NAMESPACE_LABEL, [version.namespace for version in versions]),
        _one_of(DEPLOYMENT_LABEL, [version.deployment for version in versions]),
    ]
    if snapshots:
        found.append(_one_of(SNAPSHOT_LABEL, [name for version in versions for name in version.snapshots]))
    return ",".join(found)


def any_of(label: str, values: Sequence[str]) -> str:
    """Make a matcher for one of the values, taken literally."""
    return _one_of(label, values)


def _one_of(label: str, values: Sequence[str]) -> str:
    distinct = sorted(set(values))
    if len(distinct) == 1:
        return Matcher(label, "=", distinct[0]).render()
    return Matcher(label, "=~", "|".join(re.escape(value).replace("\\-", "-") for value in distinct)).render()
