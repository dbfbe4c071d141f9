"""JSON of a ModelDeployment, as the API server stores it, into the frozen values that the rest of Serin works with.

The schema in crds/ has validated it and filled in every default but that of `strategy`; nothing else is filled in here.
What a schema cannot say is refused with `InvalidSpec` (fields.py), whose message names the field and what to write
instead: the controller shows it as a condition.

This module also decides what a version *is*: `content` maps the spec to the four dimensions whose hashes name a
snapshot. Two specs that mean the same have to give the same content, so what is empty is left out.
"""

from collections.abc import Mapping
from typing import Any

from serin.api.fields import Field, InvalidSpec
from serin.api.guard import read_output
from serin.api.guard_agreement import read_agreement
from serin.api.guard_inputs import read_input
from serin.api.guard_record import read_record
from serin.api.guard_review import read_review
from serin.api.integrity import read_integrity
from serin.api.json import JsonObject
from serin.api.kill_switch import read_fallback, read_kill_switch
from serin.api.names import (
    DIMENSIONS,
    LABEL_MODEL_DEPLOYMENT,
    LABEL_ROLE,
    LABEL_SNAPSHOT,
    config_variable,
    dimension_hashes,
)
from serin.api.notifications import read_notifications
from serin.api.pod_shape import check_shape
from serin.api.retraining import read_retraining
from serin.api.serving import container_ports, serving_content
from serin.api.spec import (
    AUTO,
    DEFAULT_STRATEGY,
    LEAST_COVERAGE,
    LIMIT_INTERVAL,
    ROLL_BACK_WITHIN,
    SLICE_REQUESTS,
    WARMUP,
    Analysis,
    ConcentrationQuery,
    DistributionQuery,
    ExtraPort,
    Holdback,
    LimitPolicy,
    MeanQuery,
    Metric,
    MetricSource,
    ModelDeployment,
    ModelDeploymentSpec,
    NoDataAction,
    RatioQuery,
    RollbackPolicy,
    RouterSpec,
    ServiceSpec,
    SnapshotPolicy,
    StrategySpec,
    TemplateRef,
    Tolerance,
    ValueQuery,
    Variant,
)
from serin.api.validation import read_validation
from serin.api.variants import variants_of
from serin.api.verdicts import Against, Severity


def parse_model_deployment(body: JsonObject, spec: ModelDeploymentSpec | None = None) -> ModelDeployment:
    """Read a ModelDeployment as the API server returns it. `spec`: the same, read before. Raises InvalidSpec."""
    metadata = body["metadata"]
    annotations = metadata.get("annotations") or {}
    return ModelDeployment(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        generation=metadata["generation"],
        deleting="deletionTimestamp" in metadata,
        annotations=annotations,
        spec=spec or parse_spec(body["spec"], metadata["name"]),
        status=body.get("status") or {},
        killed=read_kill_switch(annotations, body["spec"]),
    )


def parse_spec(spec: JsonObject, name: str = "") -> ModelDeploymentSpec:
    """Read `spec`, defaults included. `name`: the deployment's, where it has one. Raises InvalidSpec."""
    root = Field(spec, "spec")
    content = content_of(spec)
    _check_config(spec.get("config") or {})
    return ModelDeploymentSpec(
        replicas=root["replicas"].value,
        port=int((content["runtime"] or {})["port"]),
        runtime=root["runtime"].value,
        content=content,
        hashes=dimension_hashes(content),
        service=_service(spec.get("service") or {}, spec["template"]["spec"]),
        router=RouterSpec(*_member(root["router"], "router")),
        strategy=_strategy(root.get("strategy")),
        metrics=tuple(_metric(item) for item in root["metrics"].items()),
        analysis=_analysis(root["analysis"]),
        progress_deadline=root["progressDeadline"].duration(),
        fallback=read_fallback(spec, name),
        variants=_variants(spec, content),
        holdback=_holdback(root.get("watch")),
        limit_policy=_limit_policy(root.get("watch")),
        snapshots=_snapshots(root.get("snapshots")),
        integrity=read_integrity(root.get("integrity")),
        retraining=read_retraining(root.get("retraining")),
        rollback=_rollback(root.get("rollback")),
        notifications=read_notifications(root.get("notifications")),
        output_guard=read_output(root.get("guard")),
        input_guard=read_input(root.get("guard")),
        agreement=read_agreement(root.get("guard")),
        record=read_record(root.get("guard")),
        review=read_review(root.get("guard")),
    )


def content_of(spec: JsonObject) -> dict[str, JsonObject | None]:
    """The four dimensions of the version that `spec` describes; None for one that it does not use. Raises InvalidSpec.

    `runtime` is {"template", "runtime", "port", ...}. How a pod is spoken to (serving.py) is in it because it is the
    pod's contract: if it were not versioned, a new port or protocol would be used for the running stable pods at once,
    with no step and no way back. It is the effective port, so writing the derived one out changes nothing.

    Nulls, empty lists, empty maps of Serin's own fields and empty pod metadata mean the same as nothing at all and are
    left out. The pod's spec is kept as written otherwise: there an empty map can mean something (`emptyDir: {}`). A
    change of these rules renames the snapshots of every user and starts their rollouts, so they do not change.
    """
    root = Field(spec, "spec")
    template = _without_absent(root["template"].value)
    check_shape(template)
    metadata = {key: value for key, value in template.pop("metadata", {}).items() if value}
    if metadata:
        template["metadata"] = metadata
    return {
        "runtime": {"template": template, "runtime": root["runtime"].value, **serving_content(root)},
        **{name: _without_absent(spec.get(name) or {}) or None for name in ("model", "config", "features")},
    }


def _variants(spec: JsonObject, own: Mapping[str, JsonObject | None]) -> tuple[Variant, ...]:
    """The variants of an experiment. Two versions that are the same have nothing to be compared by."""
    found: list[Variant] = []
    taken = {_identity(own): "the spec"}
    for name, described in variants_of(spec).items():
        _check_config(described.get("config") or {})
        _check_template(name, described["template"])
        content = content_of(described)
        other = taken.setdefault(_identity(content), f"variant {name}")
        if other != f"variant {name}":
            raise InvalidSpec(f"spec.strategy: variant {name} is the same version as {other}: change or remove it")
        found.append(Variant(name, content, dimension_hashes(content)))
    return tuple(found)


def _check_template(variant: str, template: JsonObject) -> None:
    """What the schema refuses in the spec's own template, it cannot see in an overlay."""
    path = f"spec.strategy: the template of variant {variant}"
    check_shape(template, path)
    labels = (template.get("metadata") or {}).get("labels") or {}
    if ours := sorted({LABEL_MODEL_DEPLOYMENT, LABEL_SNAPSHOT, LABEL_ROLE} & labels.keys()):
        raise InvalidSpec(f"{path}: the label {ours[0]} is set by Serin: remove it")
    pod = template.get("spec") or {}
    containers = [*(pod.get("initContainers") or ()), *(pod.get("containers") or ())]
    for container in containers:
        for variable in container.get("env") or ():
            if str(variable.get("name", "")).startswith("SERIN_"):
                raise InvalidSpec(f"{path}: {variable['name']} is set by Serin: rename the variable")


def _identity(content: Mapping[str, JsonObject | None]) -> tuple[str, ...]:
    return tuple(dimension_hashes(content).values())


def _service(service: JsonObject, pod: JsonObject) -> ServiceSpec:
    extra = service.get("extraPorts") or ()
    known = container_ports(pod)
    for index, one in enumerate(extra):
        if one["name"] not in known:
            there = f"there are: {', '.join(sorted(known))}" if known else "no port has a name"
            raise InvalidSpec(
                f"spec.service.extraPorts[{index}].name: no container of the template has a port named {one['name']} "
                f"({there}): write it there, for example ports: [{{name: {one['name']}, containerPort: {one['port']}}}]"
            )
    return ServiceSpec(
        port=service.get("port"),
        type=service.get("type"),
        app_protocol=service.get("appProtocol"),
        annotations=service.get("annotations") or {},
        extra_ports=tuple(ExtraPort(one["name"], one["port"], one.get("appProtocol")) for one in extra),
    )


def _holdback(watch: Field | None) -> Holdback | None:
    holdback = watch.get("holdback") if watch else None
    return None if holdback is None else Holdback(holdback["weight"].value, holdback["for"].duration())


def _limit_policy(watch: Field | None) -> LimitPolicy | None:
    if watch is None:
        return None
    interval, within = watch.duration_of("interval"), watch.duration_of("rollBackWithin")
    return LimitPolicy(LIMIT_INTERVAL if interval is None else interval, ROLL_BACK_WITHIN if within is None else within)


def _check_config(config: Mapping[str, str]) -> None:
    """Two keys must not become the same environment variable: one of the values would be lost."""
    taken: dict[str, str] = {}
    for key in sorted(config):
        other = taken.setdefault(config_variable(key), key)
        if other != key:
            raise InvalidSpec(
                f"spec.config: the keys {other} and {key} both become {config_variable(key)} in the container: "
                "rename one of them"
            )


def _member(field: Field, what: str) -> tuple[str, JsonObject]:
    """Name and settings of the one member of a union, `spec.router` or `spec.strategy`.

    What the settings mean is that router's or strategy's own affair (routers/, rollout/strategies).
    """
    members = [name for name, settings in field.value.items() if settings is not None]
    if len(members) != 1:
        found = ", ".join(sorted(members)) or "none"
        raise InvalidSpec(f"{field.path}: write exactly one {what}; there is: {found}")
    return members[0], field[members[0]].value


def _strategy(field: Field | None) -> StrategySpec:
    return DEFAULT_STRATEGY if field is None else StrategySpec(*_member(field, "strategy"))


def _metric(field: Field) -> Metric:
    source = _source(field)
    against = field.get("against")
    # A value has its own limits; everything else is compared with stable unless the user says otherwise.
    default = Against.LIMIT if isinstance(source, ValueQuery) else Against.STABLE
    coverage = field.quantity_of("minCoverage")
    return Metric(
        name=field["name"].value,
        source=source,
        severity=field["severity"].one_of(Severity),
        against=default if against is None else against.one_of(Against),
        limit=field.quantity_of("limit"),
        lower_is_worse=bool(field.value.get("lowerIsWorse")),
        tolerance=_tolerance(field.get("tolerance")),
        window=field.duration_of("window"),
        label_delay=field.duration_of("labelDelay") or 0.0,
        escalate_after=field.duration_of("escalateAfter"),
        least_coverage=LEAST_COVERAGE if coverage is None else coverage,
        lasting=field.duration_of("for") or 0.0,
        by=field.value.get("by") or "",
        slice_requests=field.value.get("minRequests") or SLICE_REQUESTS,
    )


def _tolerance(field: Field | None) -> Tolerance:
    if field is None:
        return Tolerance()
    percent = field.value.get("percent")
    return Tolerance(None if percent is None else percent / 100.0, field.duration_of("atLeast"))


def _source(field: Field) -> MetricSource:
    template, ratio = field.get("template"), field.get("ratio")
    distribution, mean = field.get("distribution"), field.get("mean")
    if template is not None:
        return TemplateRef(template["name"].value, template.value.get("arguments") or {})
    if ratio is not None:
        return RatioQuery(bad=ratio["bad"].value, total=ratio["total"].value)
    if distribution is not None:
        reference = distribution.value.get("reference") or {}
        return DistributionQuery(distribution["counts"].value, distribution["by"].value, reference)
    if mean is not None:
        return MeanQuery(sum=mean["sum"].value, count=mean["count"].value)
    if (concentration := field.get("concentration")) is not None:
        return ConcentrationQuery(concentration["counts"].value, concentration["by"].value)
    value = field["value"]
    return ValueQuery(
        query=value["query"].value,
        minimum=value.quantity_of("min"),
        maximum=value.quantity_of("max"),
        consecutive_seconds=field.duration_of("for") or 0.0,
    )


def _analysis(field: Field) -> Analysis:
    promise, silence, warmup = field["falseRollbackRate"], field["onNoData"], field.duration_of("warmup")
    return Analysis(
        interval=field.duration_of("interval"),
        false_rollback_rate_critical=promise["critical"].quantity(),
        false_rollback_rate_minor=promise["minor"].quantity(),
        minimum_detectable_effect=field["minimumDetectableEffect"].quantity(),
        on_no_data=silence["action"].one_of(NoDataAction),
        on_no_data_after=silence["after"].duration(),
        warmup=WARMUP if warmup is None else warmup,
    )


def _snapshots(field: Field | None) -> SnapshotPolicy:
    if field is None:
        return SnapshotPolicy()
    return SnapshotPolicy(every=field.duration_of("every"), keep=field["keep"].value)


def _rollback(field: Field | None) -> RollbackPolicy:
    if field is None:
        return RollbackPolicy()
    given = field.value.get("dimensions") or ()
    listed = tuple(one for one in DIMENSIONS if one in given)  # another order is no other policy
    scope = (AUTO,) if field.value.get("scope") == AUTO else listed
    most, cooldown = field.value.get("maxPerDay"), field.duration_of("cooldown") or 0.0
    return RollbackPolicy(scope, most, cooldown, read_validation(field.get("validation")))


def _without_absent(value: Any) -> Any:
    """A copy in which no map has a null or an empty list: Kubernetes reads both as absent, so they are one version."""
    if isinstance(value, dict):
        return {key: _without_absent(item) for key, item in value.items() if item not in (None, [])}
    if isinstance(value, list):
        return [_without_absent(item) for item in value]
    return value
