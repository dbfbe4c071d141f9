"""All checks of `serin lint`, in the order in which the API server and the operator would make them.

A resource that the schema refuses is not asked further: the rest would only repeat it in other words.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.text import Text

from serin.api import names
from serin.api.fields import InvalidSpec
from serin.api.json import JsonObject
from serin.api.parse import parse_spec
from serin.api.spec import Metric, ModelDeploymentSpec, TemplateRef
from serin.cli.lint import documents, pods, policy, promql, rules, schema
from serin.cli.lint.documents import Document
from serin.cli.lint.schema import Problem
from serin.metrics.catalog import Catalog
from serin.metrics.enforced import Trust
from serin.metrics.promql import NAMESPACE_LABEL
from serin.metrics.sources import SourceError, only_built_in, resolve
from serin.routers import ROUTERS


def _catalog(*, user_queries: bool) -> Catalog:
    """Every template that some router or model server brings along, and what a Serin allows that is not set up."""
    trust = Trust(tenant_label=NAMESPACE_LABEL, user_queries=user_queries)
    return Catalog.of(*(router.templates() for router in ROUTERS.values()), trust=trust)


CATALOG: Final = _catalog(user_queries=True)
_UNRESTRICTED: Final = Catalog.of(*(router.templates() for router in ROUTERS.values()))
BUILT_IN_ONLY: Final = _catalog(user_queries=False)
# In the place of a namespace that the files leave to kubectl.
ANY_NAMESPACE: Final = "default"

ERROR = "error"
NOTE = "note"  # what may be meant so, or cannot be checked without a cluster


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `level`: error, or note."""

    file: str
    line: int
    resource: str
    path: str
    message: str
    level: str = ERROR

    def as_json(self) -> JsonObject:
        """For programs."""
        return {name: getattr(self, name) for name in ("file", "line", "resource", "path", "level", "message")}


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, in the order of the files. `checked`: resources of Serin's; `others`: documents that are not."""

    findings: tuple[Finding, ...]
    checked: int
    others: int

    @property
    def errors(self) -> int:
        """How many findings must be mended."""
        return sum(one.level == ERROR for one in self.findings)

    def text(self) -> Text:
        """For people, as compilers print it, so that editors can jump there."""
        text = Text()
        for one in self.findings:
            where = f"{one.path}: " if one.path and not one.message.startswith("unknown field") else ""
            style = "bold red" if one.level == ERROR else "yellow"
            text.append(f"{one.file}:{one.line}: ").append(one.level, style=style)
            text.append(f": {one.resource}: " if one.resource else ": ").append(f"{where}{one.message}\n")
        told = f"{self.errors} error{'s' * (self.errors != 1)}" if self.errors else "no errors"
        text.append(f"{_counted(self.checked, 'resource')} of Serin checked, {told}")
        return text.append(f"; {_counted(self.others, 'other document')} left out" if self.others else "")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def check(files: Iterable[Path], catalog: Catalog = CATALOG) -> Report:
    """Check the files together: a ModelDeployment may use a MetricTemplate of another file."""
    found = documents.read(files)
    findings = list(map(_unread, found.problems))
    templates = [one for one in found.documents if one.kind == names.METRIC_TEMPLATE]
    for document in found.documents:
        findings += _document(document, templates, catalog)
    findings += _twice(found.documents)
    findings.sort(key=lambda one: (one.file, one.line))
    return Report(tuple(findings), len(found.documents), found.others)


def _unread(one: documents.Unread) -> Finding:
    return Finding(one.file, one.line, one.resource, one.path, one.message)


def _document(document: Document, templates: list[Document], catalog: Catalog) -> Iterator[Finding]:
    def found(problem: Problem, level: str = ERROR) -> Finding:
        line = document.line(problem.path)
        return Finding(document.file, line, document.label, problem.path, problem.message, level)

    if problem := _not_ours(document):
        yield found(problem)
        return
    # The same order as in the API server: defaults, schema, rules; then what only the operator sees.
    body = schema.defaulted(document.body)
    problems = schema.problems(body)
    problems += rules.broken(body, schema.schema(document.kind), frozenset(one.path for one in problems))
    if problems:
        yield from map(found, problems)
    elif document.kind == names.METRIC_TEMPLATE:
        yield from map(found, _template(body["spec"], catalog))
    else:
        known = {one.name: one.body["spec"] for one in templates if _reaches(document, one)}
        errors, notes = _deployment(body, known, catalog)
        yield from map(found, errors)
        yield from (found(problem, NOTE) for problem in notes)
        yield from (found(problem, NOTE) for problem in _unknown(body, known))
        if not errors:
            yield from (found(problem, NOTE) for problem in _narrowed(body, known))


def _not_ours(document: Document) -> Problem | None:
    """Documents that cannot be looked at with a schema of ours."""
    kinds = (names.MODEL_DEPLOYMENT, names.METRIC_TEMPLATE)
    if document.kind == names.MODEL_SNAPSHOT:
        return Problem("kind", "Serin makes ModelSnapshots itself: apply the ModelDeployment instead")
    if document.kind not in kinds:
        return Problem("kind", f"{names.GROUP} has no such kind: write {' or '.join(kinds)}")
    served = schema.versions(document.kind)
    if document.body["apiVersion"].split("/")[1] not in served:
        return Problem("apiVersion", f"write {names.GROUP}/{served[0]}")
    if not document.name:
        return Problem("metadata.name", "Required value: write a name, for example metadata: {name: fraud}")
    return None


def _reaches(deployment: Document, template: Document) -> bool:
    return not deployment.namespace or not template.namespace or deployment.namespace == template.namespace


def _deployment(
    body: JsonObject, templates: Mapping[str, JsonObject], catalog: Catalog
) -> tuple[list[Problem], list[Problem]]:
    """Errors and notes."""
    try:
        spec = parse_spec(body["spec"], body["metadata"]["name"])
        planned = list(policy.check(spec))
    except InvalidSpec as error:
        path, _, message = str(error).partition(": ")
        return [Problem(path, message)], []
    errors, notes = pods.check(body, spec)
    return [*errors, *_metrics(body, spec, templates, catalog), *planned], notes


def _metrics(
    body: JsonObject, spec: ModelDeploymentSpec, templates: Mapping[str, JsonObject], catalog: Catalog
) -> Iterator[Problem]:
    for index, metric in enumerate(spec.metrics):
        path = f"spec.metrics[{index}]"
        written = list(promql.check(body["spec"]["metrics"][index], path, {}))
        yield from written or _metric(metric, path, templates, catalog, _namespace(body))


def _namespace(body: JsonObject) -> str:
    return body["metadata"].get("namespace") or ANY_NAMESPACE


def _metric(
    metric: Metric, path: str, templates: Mapping[str, JsonObject], catalog: Catalog, namespace: str
) -> Iterator[Problem]:
    name = metric.source.name if isinstance(metric.source, TemplateRef) else None
    is_known = name is None or name in templates or name in catalog.templates
    if not is_known and catalog.trust.user_queries:
        return
    try:
        source = resolve(metric, templates.get(name or ""), catalog, namespace)
    except SourceError as error:
        yield Problem(path, str(error).removeprefix(f"metric {metric.name}: "))
        return
    yield from (Problem(path, message) for message in promql.versions_lost(source))


def _narrowed(body: JsonObject, templates: Mapping[str, JsonObject]) -> Iterator[Problem]:
    """Selectors that read less than they say, unless the cluster allows users everything."""
    for index, metric in enumerate(parse_spec(body["spec"]).metrics):
        name = metric.source.name if isinstance(metric.source, TemplateRef) else ""
        try:
            source = resolve(metric, templates.get(name), _UNRESTRICTED, _namespace(body))
        except SourceError:
            continue  # a MetricTemplate of the cluster's
        for selector in promql.open_to_all(source):
            yield Problem(
                f"spec.metrics[{index}]",
                f"{selector} reads series of the deployment's namespace alone: Serin adds {NAMESPACE_LABEL}, or the "
                "label that prometheus.tenantLabel names, to every selector",
            )


def _unknown(body: JsonObject, templates: Mapping[str, JsonObject]) -> Iterator[Problem]:
    spec: ModelDeploymentSpec
    try:
        spec = parse_spec(body["spec"])
    except InvalidSpec:
        return
    for index, metric in enumerate(spec.metrics):
        source = metric.source
        if isinstance(source, TemplateRef) and source.name not in templates and source.name not in CATALOG.templates:
            yield Problem(
                f"spec.metrics[{index}].template.name",
                f"not checked: {source.name} is not built in ({', '.join(CATALOG.names)}), and no MetricTemplate "
                "of that name is in these files; it must be in the namespace",
            )


def _template(spec: JsonObject, catalog: Catalog) -> Iterator[Problem]:
    """A MetricTemplate with something in place of its arguments."""
    if not catalog.trust.user_queries:
        yield Problem("spec", only_built_in(catalog))
        return
    arguments = {one["name"]: one.get("default") or "value" for one in spec.get("arguments", ())}
    yield from promql.check(spec, "spec", arguments)


def _twice(found: list[Document]) -> Iterator[Finding]:
    first: dict[tuple[str, str, str], Document] = {}
    for one in found:
        key = (one.kind, one.namespace, one.name)
        earlier = first.setdefault(key, one)
        if earlier is not one and one.name:
            message = f"the same resource as in {earlier.file}:{earlier.line('')}: only the later one stays"
            # Two files may be two versions of it, or one for each environment.
            level = ERROR if earlier.file == one.file else NOTE
            yield Finding(one.file, one.line("metadata.name"), one.label, "metadata.name", message, level)
