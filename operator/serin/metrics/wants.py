"""What the collector is asked for: one metric of one snapshot of a deployment."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from serin.api.json import JsonObject
from serin.api.spec import Metric
from serin.evaluation.past import PastRequest
from serin.metrics.pod_readings import Begun
from serin.metrics.promql import Version, fill, matchers_of
from serin.metrics.readings import Owner

Key = tuple[str, str, str, str]  # namespace, deployment, subject, metric


@dataclass(frozen=True, slots=True)
class Want:
    """What to count: one metric of one snapshot of a deployment.

    `subject`: the snapshot under judgement. `baseline`: the snapshot that is counted in the same seconds to compare it
    with; None when there is none, as for a limit or a reference. `since`: unix seconds of the newest sample counted (a
    tick's `at`, and `counted`), or from when on to count. `template`: spec of the MetricTemplate that the metric names,
    None for built-in ones. `past`: windows to read instead of counting on from `since`. `base`: what the router's pods
    had counted at `since`, when they were read then.
    """

    namespace: str
    deployment: str
    subject: str
    baseline: str | None
    metric: Metric
    since: float
    template: JsonObject | None = None
    counted: bool = False
    past: PastRequest | None = None
    base: Begun | None = field(default=None, compare=False)

    @property
    def key(self) -> Key:
        """Where the tick is found in the answer."""
        return self.namespace, self.deployment, self.subject, self.metric.name

    @property
    def version(self) -> Version:
        """Whose series are meant."""
        return Version(self.namespace, self.deployment, tuple(snapshot for _, _, snapshot in self.owners))

    @property
    def owners(self) -> tuple[Owner, ...]:
        """The subject, and the baseline if there is one, as their series are labelled."""
        names = (self.subject,) if self.baseline is None else (self.subject, self.baseline)
        return tuple((self.namespace, self.deployment, name) for name in names)


def filled(selectors: Iterable[str], wants: Sequence[Want]) -> list[str]:
    """Selectors with {{.version}} replaced by the snapshots of all these wants."""
    version = matchers_of([want.version for want in wants])
    return [fill(text, {"version": version}) for text in selectors]
