"""How many rows got which label, on MLServer's own metrics page: `predictions_total{label="0"}`.

A module of its own, because MLServer loads the one of the model twice, and a metric can be made only once. MLServer's
`register` makes histograms only; without parallel workers its page shows prometheus_client's default registry.
"""

from prometheus_client import Counter

PREDICTIONS = Counter("predictions", "Rows by the label that they got.", ("label",))
