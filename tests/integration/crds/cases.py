"""The list of mistakes that people make, and of what looks like one and is none.

A mistake is a merge patch of the smallest resource, with the field that the answer names and words of the fix.
"""

from serin.routers.envoy.templates import templates

Refusals = dict[str, tuple[str, tuple[str, ...]]]

ANSWERS = "distribution: {counts: 'a_total{ {{.version}} }', by: label}"
KNOWN = ANSWERS.replace("by: label", "by: label, reference: {legit: 97, fraud: 3}")
ITEMS = "concentration: {counts: 'r_total{ {{.version}} }', by: item}"
TOKENS = "mean: {sum: 't_sum{ {{.version}} }', count: 't_count{ {{.version}} }'}"

MISSED = "ratio: {bad: 'missed_total{ {{.version}} }', total: 'seen_total{ {{.version}} }'}"

VARIANT = "spec: {strategy: {abTest: {sticky: {header: x-user}, goal: {metric: errors}, variants: [{name: b, WHAT}]}}}"
JOB = (
    "{metadata: {labels: {kueue.x-k8s.io/queue-name: gpus}}, spec: {backoffLimit: 2, suspend: true, "
    "activeDeadlineSeconds: 3600, ttlSecondsAfterFinished: 0, template: {metadata: {labels: {team: risk}}, "
    "spec: {serviceAccountName: trainer, containers: [{name: train, image: i, envFrom: [{secretRef: {name: s3}}]}]}}}}"
)
BANDIT = "spec: {strategy: {bandit: {reward: {metric: errors}, WHAT}}}"
PROBE = "spec: {integrity: {goldenProbes: [{name: known, path: /p, body: '{}', expected: '[1]', WHAT}]}}"


def _limited(watch: str = "", metric: str = "") -> str:
    """A metric with a limit. `watch`, `metric`: more of the spec, and of the metric."""
    more = f", {metric}" if metric else ""
    errors = "name: errors, template: {name: request-errors}, severity: major, against: limit, limit: '0.01'"
    return f"spec: {{metrics: [{{{errors}{more}}}]{f', {watch}' if watch else ''}}}"


def _probe(what: str) -> str:
    """A golden probe with this."""
    return PROBE.replace("WHAT", what)


def _recorded(template: str, more: str) -> str:
    """A metric of what the guard has recorded."""
    arguments = "field: b, label: c" if template == "prediction-share" else "field: b"
    source = f"template: {{name: {template}, arguments: {{{arguments}}}}}"
    return f"spec: {{metrics: [{{name: a, {source}, severity: minor, {more}}}], watch: {{}}}}"


def _past(metric: str = "", *, against: str = "history", watch: str = "watch: {}") -> str:
    """A metric that is compared with its past. `metric`: more of it."""
    more = f", {metric}" if metric else ""
    errors = f"name: errors, template: {{name: request-errors}}, against: {against}"
    return f"spec: {{metrics: [{{{errors}{more}}}]{f', {watch}' if watch else ''}}}"


REFUSED: Refusals = {
    # --- the name ---
    "name too long": ("metadata: {name: " + "a" * 53 + "}", ("metadata.name", "at most 52 characters")),
    "name with a dot": ("metadata: {name: fraud.v2}", ("metadata.name", "no dots, for example fraud-model")),
    "name starts with a digit": ("metadata: {name: 2fraud}", ("metadata.name", "a letter first")),
    # --- cohorts ---
    "weight and match": (
        "spec: {strategy: {canary: {steps: [{weight: 5, match: {headers: {x-beta: 'true'}}, bake: 5m}]}}}",
        ("spec.strategy.canary.steps[0]", "write exactly one of weight and bake"),
    ),
    "match without bake": (
        "spec: {strategy: {canary: {steps: [{match: {headers: {x-beta: 'true'}}}, {weight: 5, bake: 5m}]}}}",
        ("spec.strategy.canary.steps[0].bake", "write how long"),
    ),
    "match of everybody": (
        "spec: {strategy: {canary: {steps: [{match: {}, bake: 5m}, {weight: 5, bake: 5m}]}}}",
        ("spec.strategy.canary.steps[0].match", "or every request would match"),
    ),
    "match after a weight": (
        "spec: {strategy: {canary: {steps: [{weight: 5, bake: 5m}, {match: {headers: {x-beta: 'true'}}, bake: 5m}]}}}",
        ("spec.strategy.canary.steps", "before the first weight"),
    ),
    "only a match": (
        "spec: {strategy: {canary: {steps: [{match: {headers: {x-beta: 'true'}}, bake: 5m}]}}}",
        ("spec.strategy.canary.steps", "at least one step with a weight"),
    ),
    "header in capitals": (
        "spec: {strategy: {canary: {steps: [{match: {headers: {X-Beta: 'true'}}, bake: 5m}, {weight: 5, bake: 5m}]}}}",
        ("match.headers", "in lower case"),
    ),
    "header of Serin": (
        "spec: {strategy: {canary: {steps: [{match: {headers: {x-serin-a: b}}, bake: 5m}, {weight: 5, bake: 5m}]}}}",
        ("match.headers", "Serin's own"),
    ),
    "cookie with a semicolon": (
        "spec: {strategy: {canary: {steps: [{match: {cookies: {a: 'b;c'}}, bake: 5m}, {weight: 5, bake: 5m}]}}}",
        ("match.cookies", "no spaces"),
    ),
    "replicas of a weight": (
        "spec: {strategy: {canary: {steps: [{weight: 5, bake: 5m, replicas: 2}]}}}",
        ("spec.strategy.canary.steps[0].replicas", "belongs to a step with match"),
    ),
    # --- copies ---
    "weight and mirror": (
        "spec: {strategy: {canary: {steps: [{weight: 5, mirror: 20, bake: 5m}]}}}",
        ("spec.strategy.canary.steps[0]", "write exactly one of weight and bake"),
    ),
    "mirror without bake": (
        "spec: {strategy: {canary: {steps: [{mirror: 20}, {weight: 5, bake: 5m}]}}}",
        ("spec.strategy.canary.steps[0].bake", "write how long"),
    ),
    "mirror of nothing": (
        "spec: {strategy: {canary: {steps: [{mirror: 0, bake: 5m}, {weight: 5, bake: 5m}]}}}",
        ("spec.strategy.canary.steps[0].mirror", "greater than or equal to 1"),
    ),
    "mirror after a weight": (
        "spec: {strategy: {canary: {steps: [{weight: 5, bake: 5m}, {mirror: 20, bake: 5m}]}}}",
        ("spec.strategy.canary.steps", "before the first weight"),
    ),
    "replicas of a mirror": (
        "spec: {strategy: {canary: {steps: [{mirror: 20, bake: 5m, replicas: 2}, {weight: 5, bake: 5m}]}}}",
        ("spec.strategy.canary.steps[0].replicas", "belongs to a step with match"),
    ),
    "only a mirror": (
        "spec: {strategy: {canary: {steps: [{mirror: 20, bake: 5m}]}}}",
        ("spec.strategy.canary.steps", "at least one step with a weight"),
    ),
    "shadow without bake": ("spec: {strategy: {shadow: {mirror: 20}}}", ("spec.strategy.shadow.bake", "Required")),
    "shadow of no time": (
        "spec: {strategy: {shadow: {mirror: 20, bake: 2h, maxDuration: 1h}}}",
        ("spec.strategy.shadow.maxDuration", "at least the bake"),
    ),
    "shadow bakes in words": (
        "spec: {strategy: {shadow: {mirror: 20, bake: 5 minutes}}}",
        ("spec.strategy.shadow.bake", "for example 90s, 10m or 1h30m"),
    ),
    "shadow for days": (
        "spec: {strategy: {shadow: {mirror: 20, bake: 5m, maxDuration: 2d}}}",
        ("spec.strategy.shadow.maxDuration", "for example 6h"),
    ),
    "shadow then nothing": (
        "spec: {strategy: {shadow: {mirror: 20, bake: 5m, then: Wait}}}",
        ("spec.strategy.shadow.then", '"Promote", "Hold"'),
    ),
    # --- the kill switch ---
    "kill switch of YAML": ("spec: {killSwitch: Off}", ("spec.killSwitch", "string")),
    "unknown kill switch": ("spec: {killSwitch: Everything}", ("spec.killSwitch", '"Off", "Candidate", "All"')),
    # --- partial rollback ---
    "reverts nothing": (
        "spec: {rollback: {}}",
        ("spec.rollback", "write scope: auto, to search for what is to blame; or maxPerDay: 3 and cooldown: 10m"),
    ),
    "reverts two ways": (
        "spec: {rollback: {scope: auto, dimensions: [runtime]}}",
        ("spec.rollback", "dimensions: [runtime] (only these are, together) and scope: all (nothing more is tried)"),
    ),
    "goes back never": (
        _limited("watch: {}, rollback: {maxPerDay: 0}"),
        ("spec.rollback.maxPerDay", "greater than or equal to 1"),
    ),
    "cools down for days": (
        _limited("watch: {}, rollback: {cooldown: 2d}"),
        ("spec.rollback.cooldown", "write a duration from 1s to 24h, for example 10m"),
    ),
    "goes back without a watch": (
        "spec: {rollback: {maxPerDay: 3}}",
        ("spec.rollback", "while it is watched: write watch: {} too, or remove them"),
    ),
    "reverts by another word": ("spec: {rollback: {scope: some}}", ("spec.rollback.scope", '"auto", "all"')),
    "reverts no dimension": ("spec: {rollback: {dimensions: []}}", ("spec.rollback.dimensions", "1")),
    "reverts an unknown dimension": (
        "spec: {rollback: {dimensions: [image]}}",
        ("spec.rollback.dimensions[0]", '"runtime", "model", "config", "features"'),
    ),
    "reverts everything by dimensions": (
        "spec: {rollback: {dimensions: [runtime, model, config, features]}}",
        ("spec.rollback.dimensions", "3"),
    ),
    "reverts a part of an experiment": (
        "spec: {rollback: {scope: auto}, strategy: {bandit: {reward: {metric: errors, better: Higher}}}}",
        ("spec.rollback", "an experiment compares its versions as they are"),
    ),
    # --- watching after a promotion ---
    "watches nothing": (
        "spec: {watch: {}}",
        ("spec.watch", "no metric can be watched without another version: write one"),
    ),
    "watches no limit": (
        "spec: {watch: {holdback: {}, rollBackWithin: 72h}}",
        ("spec.watch", "without interval and rollBackWithin"),
    ),
    "watches all the time": (
        _limited("watch: {interval: 1s}"),
        ("spec.watch.interval", "write a duration from 5s to 1h, for example 1m"),
    ),
    "rolls back within days": (
        _limited("watch: {rollBackWithin: 3d}"),
        ("spec.watch.rollBackWithin", "for example 72h, or 0s to be told alone"),
    ),
    "window of a comparison": (
        "spec: {metrics: [{name: errors, template: {name: request-errors}, severity: major, window: 24h}], "
        "watch: {holdback: {}}}",
        (
            "spec.metrics[0].window",
            "window belongs to a metric with against: limit, reference, snapshot, history or day",
        ),
    ),
    "window that nobody watches": (
        _limited(metric="window: 24h"),
        ("spec.metrics", "write watch: {} too, or remove them"),
    ),
    "window of days": (
        _limited("watch: {}", metric="window: 7d"),
        ("spec.metrics[0].window", "write a duration from 1m to 168h, for example 24h"),
    ),
    "past that nobody watches": (
        _past(watch=""),
        ("spec.metrics", "only while it is watched after the promotion: write watch: {} too, or against: stable"),
    ),
    "past of a distribution": (
        f"spec: {{metrics: [{{name: m, {ANSWERS}, against: history, severity: minor}}], watch: {{}}}}",
        ("spec.metrics[0].against", "write against: reference with the counts of a good time"),
    ),
    "past of a value": (
        "spec: {metrics: [{name: m, value: {query: up, max: '5'}, against: history}], watch: {}}",
        ("spec.metrics[0].against", "a value is compared with its own min and max"),
    ),
    "limit of a past as a share": (
        _past("limit: '0.01'"),
        ("spec.metrics[0].limit", 'from 1 to 100, for example "1.2"'),
    ),
    "past of a minute": (_past("window: 5m"), ("spec.metrics[0].window", "10m or longer")),
    "coverage of a limit": (
        _limited("watch: {}", metric="minCoverage: '0.5'"),
        ("spec.metrics[0].minCoverage", "belongs to a metric with against: snapshot, history or day"),
    ),
    "coverage in percent": (
        _past("minCoverage: 80%"),
        ("spec.metrics[0].minCoverage", 'write a share from 0.05 to 1 as text, for example "0.8"'),
    ),
    "more than all of a window": (_past("minCoverage: '1.5'"), ("spec.metrics[0].minCoverage", "from 0.05 to 1")),
    "labels of a comparison": (
        "spec: {metrics: [{name: errors, template: {name: request-errors}, labelDelay: 6h}], watch: {holdback: {}}}",
        (
            "spec.metrics[0].labelDelay",
            "labelDelay belongs to a metric with against: limit, reference, snapshot, history or",
        ),
    ),
    "labels in days": (_past("labelDelay: 1d"), ("spec.metrics[0].labelDelay", "from 1s to 720h, for example 6h")),
    "major that escalates": (
        _limited("watch: {}", metric="escalateAfter: 24h"),
        ("spec.metrics[0].escalateAfter", "escalateAfter belongs to a minor metric with value, against: limit or"),
    ),
    "escalates in days": (
        _past("escalateAfter: 2d, severity: minor"),
        ("spec.metrics[0].escalateAfter", "write a duration from 1m to 720h, for example 24h"),
    ),
    "first day that escalates": (
        _past("escalateAfter: 24h, severity: minor", against="snapshot"),
        ("spec.metrics[0].escalateAfter", "all others go back at once, or never: remove escalateAfter"),
    ),
    "limit that must last": (
        _limited("watch: {}", metric="for: 5m"),
        ("spec.metrics[0].for", "for belongs to a metric with value, or with against: snapshot, history or day"),
    ),
    # --- slices ---
    "slices of a built-in template": (
        "spec: {metrics: [{name: errors, template: {name: request-errors}, by: country}]}",
        ("spec.metrics[0].by", "by belongs to a ratio of your own counters"),
    ),
    "slices of a mean": (
        f"spec: {{metrics: [{{name: m, {TOKENS}, by: country}}]}}",
        ("spec.metrics[0].by", "by belongs to a ratio of your own counters"),
    ),
    "slices of the past": (
        f"spec: {{metrics: [{{name: m, {MISSED}, by: country, against: history}}], watch: {{}}}}",
        ("spec.metrics[0].by", "slices are compared with stable or with a limit"),
    ),
    "slices by what is no label": (
        f"spec: {{metrics: [{{name: m, {MISSED}, by: 'my country'}}]}}",
        ("spec.metrics[0].by", "write the name of a label, for example country"),
    ),
    "requests of no slice": (
        f"spec: {{metrics: [{{name: m, {MISSED}, minRequests: 50}}]}}",
        ("spec.metrics[0].minRequests", "write by: country (a label of the counters) too"),
    ),
    "slices by Serin's own label": (
        f"spec: {{metrics: [{{name: m, {MISSED}, by: serin_snapshot}}]}}",
        ("spec.metrics[0].by", "a slice is what both versions serve"),
    ),
    "slices by process": (
        f"spec: {{metrics: [{{name: m, {MISSED}, by: instance}}]}}",
        ("spec.metrics[0].by", "a slice is what both versions serve"),
    ),
    "slices of too many metrics": (
        "spec: {metrics: [" + ", ".join(f"{{name: m{one}, {MISSED}, by: country}}" for one in range(5)) + "]}",
        ("spec.metrics", "at most 4 metrics are sliced"),
    ),
    "slices of a reward": (
        f"spec: {{metrics: [{{name: m, {MISSED}, by: country}}], "
        "strategy: {bandit: {reward: {metric: m, better: Higher}}}}",
        ("spec.metrics", "what decides an experiment is not sliced: remove by from that metric"),
    ),
    "holds everybody back": ("spec: {watch: {holdback: {weight: 100}}}", ("spec.watch.holdback.weight", "50")),
    "holds nobody back": ("spec: {watch: {holdback: {weight: 0}}}", ("spec.watch.holdback.weight", "1")),
    "holds back for ever": (
        "spec: {watch: {holdback: {for: 720h}}}",
        ("spec.watch.holdback.for", "write a duration from 1s to 168h, for example 24h"),
    ),
    "no fallback at all": ("spec: {fallback: {}}", ("spec.fallback", "exactly one of service")),
    "two fallbacks": (
        "spec: {fallback: {service: {name: rules, port: 80}, answer: {body: x}}}",
        ("spec.fallback", "exactly one of service"),
    ),
    "fallback in another namespace": (
        "spec: {fallback: {service: {name: rules.other, port: 80}}}",
        ("spec.fallback.service.name", "of this namespace, without dots"),
    ),
    "namespace of a fallback": (
        "spec: {fallback: {service: {name: rules, namespace: other, port: 80}}}",
        ('unknown field "spec.fallback.service.namespace"',),
    ),
    "fallback without a port": (
        "spec: {fallback: {service: {name: rules}}}",
        ("spec.fallback.service", "name and port"),
    ),
    "fallback is the Service itself": (
        "{metadata: {name: fraud}, spec: {fallback: {service: {name: fraud, port: 80}}}}",
        ("spec.fallback.service.name", "in its own place"),
    ),
    "large answer": (
        "spec: {fallback: {answer: {body: " + "a" * 4097 + "}}}",
        ("spec.fallback.answer.body", "4096"),
    ),
    "no media type": ("spec: {fallback: {answer: {contentType: json}}}", ("contentType", "write a media type")),
    # --- fields that do not exist ---
    "misspelt field": ("spec: {replica: 3}", ('unknown field "spec.replica"',)),
    "misspelt field of a step": (
        "spec: {strategy: {canary: {steps: [{wieght: 5, bake: 5m}]}}}",
        ('unknown field "spec.strategy.canary.steps[0].wieght"',),
    ),
    "no strategy": ("spec: {strategy: {}}", ("spec.strategy", "write exactly one strategy")),
    "another strategy": ("spec: {strategy: {redBlack: {}}}", ('unknown field "spec.strategy.redBlack"',)),
    "two strategies": (
        "spec: {strategy: {canary: {}, blueGreen: {}}}",
        ("spec.strategy", "write exactly one strategy, canary: {}, blueGreen: {}, abTest, bandit, or shadow"),
    ),
    "everybody held back": (
        "spec: {strategy: {canary: null, blueGreen: {holdback: 100}}}",
        ("spec.strategy.blueGreen.holdback", "50"),
    ),
    "approval in words": (
        "spec: {strategy: {canary: null, blueGreen: {approve: yes please}}}",
        ("spec.strategy.blueGreen.approve", '"Auto", "Manual"'),
    ),
    "shorter than its bake": (
        "spec: {strategy: {canary: null, blueGreen: {bake: 2h, maxDuration: 1h}}}",
        ("spec.strategy.blueGreen.maxDuration", "at least the bake"),
    ),
    "blue/green that bakes for a month": (
        "spec: {strategy: {canary: null, blueGreen: {bake: 720h}}}",
        ("spec.strategy.blueGreen.bake", "write a duration of at most 168h"),
    ),
    "blue kept for a month": (
        "spec: {strategy: {canary: null, blueGreen: {keep: 720h}}}",
        ("spec.strategy.blueGreen.keep", "write a duration of at most 168h, for example 1h, or 0s"),
    ),
    "blue/green without an end": (
        "spec: {strategy: {canary: null, blueGreen: {maxDuration: 9000h}}}",
        ("spec.strategy.blueGreen.maxDuration", "write a duration from 1s to 2160h"),
    ),
    "A/B test by no header": (
        "spec: {strategy: {abTest: {sticky: {header: 'x user'}, goal: {metric: errors}}}}",
        ("spec.strategy.abTest.sticky.header", "write the name of a request header"),
    ),
    "A/B test by a cookie for a second": (
        "spec: {strategy: {abTest: {sticky: {cookie: {name: ab, ttl: 1s}}, goal: {metric: errors}}}}",
        ("spec.strategy.abTest.sticky.cookie.ttl", "write a duration from 1m to 8760h"),
    ),
    "A/B test whose labels never come": (
        "spec: {strategy: {abTest: {sticky: {header: x-user}, goal: {metric: errors, labelDelay: 9000h}}}}",
        ("spec.strategy.abTest.goal.labelDelay", "write a duration from 1s to 2160h"),
    ),
    "A/B test of a year at least": (
        "spec: {strategy: {abTest: {sticky: {header: x-user}, goal: {metric: errors}, minDuration: 9000h}}}",
        ("spec.strategy.abTest.minDuration", "write a duration from 1s to 2160h"),
    ),
    "A/B test of a year": (
        "spec: {strategy: {abTest: {sticky: {header: x-user}, goal: {metric: errors}, maxDuration: 9000h}}}",
        ("spec.strategy.abTest.maxDuration", "write a duration from 1s to 4320h"),
    ),
    "latency tolerance of a day": (
        "spec: {metrics: [{name: latency, template: {name: request-latency}, tolerance: {atLeast: 24h}}]}",
        ("spec.metrics[0].tolerance.atLeast", "write a duration of at most 1h"),
    ),
    "variant of nowhere": (
        VARIANT.replace("WHAT", "model: {uri: here}"),
        ("spec.strategy.abTest.variants[0].model.uri", "write a URI with its scheme"),
    ),
    "variant with half a digest": (
        VARIANT.replace("WHAT", "model: {digest: 'sha256:12'}"),
        ("spec.strategy.abTest.variants[0].model.digest", "write sha256: and 64"),
    ),
    "variant with a config that is no variable": (
        VARIANT.replace("WHAT", "config: {9a: b}"),
        ("spec.strategy.abTest.variants[0].config", "write keys of at most 63 letters"),
    ),
    "A/B test of nobody": (
        "spec: {strategy: {abTest: {goal: {metric: errors}}}}",
        ("spec.strategy.abTest.sticky: Required",),
    ),
    "A/B test of users by two keys": (
        "spec: {strategy: {abTest: {sticky: {header: x-user, cookie: {name: ab}}, goal: {metric: errors}}}}",
        ("spec.strategy.abTest.sticky", "write either header: x-user-id, or cookie"),
    ),
    "A/B test by a cookie with a quote": (
        "spec: {strategy: {abTest: {sticky: {cookie: {name: 'a\"b'}}, goal: {metric: errors}}}}",
        ("spec.strategy.abTest.sticky.cookie.name", "write letters, digits, hyphens and underscores"),
    ),
    "A/B test without a goal that is measured": (
        "spec: {strategy: {abTest: {sticky: {header: x-user}, goal: {metric: conversion}}}}",
        ("spec.strategy.abTest.goal.metric", "write the name of one of spec.metrics that is a ratio or a mean"),
    ),
    "A/B test for an effect of nothing": (
        'spec: {strategy: {abTest: {sticky: {header: x-user}, goal: {metric: errors, minimumDetectableEffect: "1"}}}}',
        ("spec.strategy.abTest.goal.minimumDetectableEffect", "write a ratio over 1"),
    ),
    "A/B test that ends before it may": (
        "spec: {strategy: {abTest: {sticky: {header: x-user}, goal: {metric: errors}, maxDuration: 24h}}}",
        ("spec.strategy.abTest.maxDuration", "write a duration of at least minDuration"),
    ),
    "variant without a difference": (
        "spec: {strategy: {abTest: {sticky: {header: x-user}, goal: {metric: errors}, variants: [{name: b}]}}}",
        ("spec.strategy.abTest.variants[0]", "write what is different"),
    ),
    "variant called as the spec's own version": (
        "spec: {strategy: {abTest: {sticky: {header: x-user}, goal: {metric: errors}, "
        'variants: [{name: a, model: {version: "2"}}]}}}',
        ("spec.strategy.abTest.variants[0].name", "another name than a"),
    ),
    "bandit without a reward": ("spec: {strategy: {bandit: {}}}", ("spec.strategy.bandit.reward: Required",)),
    "bandit for a reward that is not measured": (
        "spec: {strategy: {bandit: {reward: {metric: conversion}}}}",
        ("spec.strategy.bandit.reward.metric", "write the name of one of spec.metrics that is a ratio"),
    ),
    "bandit whose labels never come": (
        "spec: {strategy: {bandit: {reward: {metric: errors, labelDelay: 9000h}}}}",
        ("spec.strategy.bandit.reward.labelDelay", "write a duration from 1s to 2160h"),
    ),
    "bandit that is over before the labels": (
        "spec: {strategy: {bandit: {reward: {metric: errors, labelDelay: 400h}}}}",
        ("spec.strategy.bandit.maxDuration", "longer than reward.labelDelay"),
    ),
    "bandit that moves every second": (
        BANDIT.replace("WHAT", "interval: 1s"),
        ("spec.strategy.bandit.interval", "write a duration from 5s to 168h"),
    ),
    "bandit that never moves": (
        BANDIT.replace("WHAT", "interval: 100h, minDuration: 1h, maxDuration: 100h"),
        ("spec.strategy.bandit.interval", "or no weight ever moves"),
    ),
    "bandit that forgets at once": (
        BANDIT.replace("WHAT", "halfLife: 1s"),
        ("spec.strategy.bandit.halfLife", "write a duration from 1m to 2160h"),
    ),
    "bandit of more than everything": (
        BANDIT.replace("WHAT", "minWeight: 40, variants: [{name: b, model: {version: '2'}}]"),
        ("spec.strategy.bandit.minWeight", "write at most 100 divided by their number"),
    ),
    "bandit that is sure": (
        BANDIT.replace("WHAT", 'stopAt: "1"'),
        ("spec.strategy.bandit.stopAt", "write a probability over 0.5 and below 1"),
    ),
    "bandit of a year at least": (
        BANDIT.replace("WHAT", "minDuration: 9000h"),
        ("spec.strategy.bandit.minDuration", "write a duration from 1s to 2160h"),
    ),
    "bandit of a year": (
        BANDIT.replace("WHAT", "maxDuration: 9000h"),
        ("spec.strategy.bandit.maxDuration", "write a duration from 1s to 4320h"),
    ),
    "bandit that ends before it may": (
        BANDIT.replace("WHAT", "maxDuration: 12h"),
        ("spec.strategy.bandit.maxDuration", "write a duration of at least minDuration"),
    ),
    "bandit with a variant called as the spec's own version": (
        BANDIT.replace("WHAT", "variants: [{name: a, model: {version: '2'}}]"),
        ("spec.strategy.bandit.variants[0].name", "another name than a"),
    ),
    "bandit with a variant without a difference": (
        BANDIT.replace("WHAT", "variants: [{name: b}]"),
        ("spec.strategy.bandit.variants[0]", "write what is different"),
    ),
    "bandit with a variant of nowhere": (
        BANDIT.replace("WHAT", "variants: [{name: b, model: {uri: here}}]"),
        ("spec.strategy.bandit.variants[0].model.uri", "write a URI with its scheme"),
    ),
    "bandit with a variant with half a digest": (
        BANDIT.replace("WHAT", "variants: [{name: b, model: {digest: 'sha256:12'}}]"),
        ("spec.strategy.bandit.variants[0].model.digest", "write sha256: and 64"),
    ),
    "bandit with a variant with a config that is no variable": (
        BANDIT.replace("WHAT", "variants: [{name: b, config: {9a: b}}]"),
        ("spec.strategy.bandit.variants[0].config", "write keys of at most 63 letters"),
    ),
    "less than one percent for a variant": (
        "spec: {strategy: {abTest: {sticky: {header: x-user}, goal: {metric: errors}, split: 1, "
        'variants: [{name: b, model: {version: "2"}}]}}}',
        ("spec.strategy.abTest.split", "at least one percent for each"),
    ),
    "another router": ("spec: {router: {istio: {}}}", ('unknown field "spec.router.istio"',)),
    "pod spec one level too high": (
        "spec: {template: {containers: [{name: model}]}}",
        ('unknown field "spec.template.containers"',),
    ),
    # --- the pod template ---
    "no spec": ("spec: null", ("spec: Required value",)),
    "no template": ("spec: {template: null, port: 80}", ("spec.template: Required", "template: {spec: {containers:")),
    "no containers": (
        "spec: {port: 80, template: {spec: {containers: null}}}",
        ("spec.template.spec.containers: Required", "for example containers: [{name: model"),
    ),
    "empty containers": (
        "spec: {port: 80, template: {spec: {containers: []}}}",
        ("spec.template.spec.containers: Required", "write at least one container"),
    ),
    "volumes that are no list": (
        "spec: {template: {spec: {volumes: 5}}}",
        ("spec.template.spec.volumes", "must be of type array"),
    ),
    "a preStop that is a command": (
        "spec: {port: 80, template: {spec: {containers: [{name: a, image: i, lifecycle: {preStop: sleep 5}}]}}}",
        ("spec.template.spec.containers[0].lifecycle.preStop", "must be of type object"),
    ),
    "mounts that are no list, beside the server": (
        "spec: {template: {spec: {initContainers: [{name: a, image: i, volumeMounts: /x}]}}}",
        ("spec.template.spec.initContainers[0].volumeMounts", "must be of type array"),
    ),
    "container without a name": (
        "spec: {template: {spec: {containers: [{image: i, ports: [{containerPort: 80}]}]}}}",
        ("spec.template.spec.containers[0].name: Required value",),
    ),
    "two containers of one name": (
        "spec: {port: 80, template: {spec: {containers: [{name: a, image: i}, {name: a, image: i}]}}}",
        ("spec.template.spec.containers[1]: Duplicate value",),
    ),
    "environment variable of Serin": (
        "spec: {port: 80, template: {spec: {containers: [{name: a, env: [{name: SERIN_MODEL_URI, value: x}]}]}}}",
        ("spec.template.spec.containers[0]", "start with SERIN_", "rename them"),
    ),
    "environment variable of Serin in an init container": (
        "spec: {template: {spec: {initContainers: [{name: a, env: [{name: SERIN_MODEL_URI, value: x}]}]}}}",
        ("spec.template.spec.initContainers[0]", "start with SERIN_", "rename them"),
    ),
    "label of Serin": (
        "spec: {template: {metadata: {labels: {serin.dev/role: stable}}}}",
        ("spec.template.metadata.labels", "set by Serin: remove them"),
    ),
    # --- what a version is made of ---
    "no port anywhere": (
        "spec: {template: {spec: {containers: [{name: model, image: i}]}}}",
        ("spec.port: Required value", "either port: 8080 or ports: [{containerPort: 8080}]"),
    ),
    "port out of range": ("spec: {port: 70000}", ("spec.port", "less than or equal to 65535")),
    "port as text": ('spec: {port: "8080"}', ("spec.port", "must be of type integer")),
    "no replicas": ("spec: {replicas: 0}", ("spec.replicas", "greater than or equal to 1")),
    "too many replicas": ("spec: {replicas: 1001}", ("spec.replicas", "less than or equal to 1000")),
    "half a replica": ("spec: {replicas: 1.5}", ("spec.replicas", "must be of type integer")),
    "unknown runtime": (
        "spec: {runtime: torchserve}",
        ("spec.runtime", '"generic", "openInference", "mlserver", "kserve", "triton"'),
    ),
    "runtime needs the model's name": (
        "spec: {runtime: mlserver, model: {version: '7'}}",
        ("spec.model: Required value", "write model: {name:", "or runtime: generic"),
    ),
    "runtime that cannot ask for such a name": (
        "spec: {runtime: kserve, model: {name: owner/fraud}}",
        ("spec.model.name", "write letters, digits, dots, hyphens and underscores"),
    ),
    "model version as a number": ("spec: {model: {version: 7}}", ("spec.model.version", "must be of type string")),
    "uri without a scheme": (
        "spec: {model: {uri: models/fraud/7}}",
        ("spec.model.uri", "for example s3://models/fraud/7"),
    ),
    "digest without its algorithm": (
        "spec: {model: {digest: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae}}",
        ("spec.model.digest", "write sha256: and 64 lower-case hexadecimal digits"),
    ),
    "config value as a number": ("spec: {config: {threshold: 0.5}}", ("spec.config.threshold", "of type string")),
    "config key that is no variable": (
        "spec: {config: {max age: '3'}}",
        ("spec.config", "write keys of at most 63 letters, digits", "for example threshold"),
    ),
    "config key that is no file": ("spec: {config: {threshold-: '3'}}", ("spec.config", "no sign last")),
    "too much config": (
        "spec: {config: {" + ", ".join(f"k{index}: v" for index in range(65)) + "}}",
        ("spec.config: Too many", "must have at most 64"),
    ),
    "features as a number": ("spec: {features: {schemaVersion: 3}}", ("spec.features.schemaVersion", "type string")),
    # --- the router ---
    "shield in lower case": (
        "spec: {router: {envoy: {shield: failures}}}",
        ("spec.router.envoy.shield", 'supported values: "Failures", "Unsent", "Off"'),
    ),
    "Off without quotes": (
        "spec: {router: {envoy: {shield: Off}}}",
        ("spec.router.envoy.shield", 'supported values: "Failures", "Unsent", "Off"'),
    ),
    "hedge without a shield": (
        "spec: {router: {envoy: {shield: 'Off', hedgeAfter: 2s}}}",
        ("spec.router.envoy.hedgeAfter", "remove hedgeAfter, or write shield: Failures"),
    ),
    "hedge after the time-out": (
        "spec: {router: {envoy: {hedgeAfter: 2m}}, timeout: 60s}",
        ("spec.router.envoy.hedgeAfter", "shorter than spec.timeout"),
    ),
    "hedge at once": ("spec: {router: {envoy: {hedgeAfter: 0s}}}", ("router.envoy.hedgeAfter", "from 1ms to 1h")),
    "unknown event streams": (
        "spec: {router: {envoy: {eventStreams: Yes please}}}",
        ("router.envoy.eventStreams", '"Opaque", "Read"'),
    ),
    "time-out of the router": (
        "spec: {router: {envoy: {timeout: 30s}}}",
        ('unknown field "spec.router.envoy.timeout"',),
    ),
    "time-out without a unit": ("spec: {timeout: '300'}", ("spec.timeout", "30s or 5m")),
    "unknown protocol": ("spec: {protocol: gRPC}", ("spec.protocol", '"HTTP1", "HTTP2"')),
    "Triton's gRPC port without a protocol": (
        "spec: {runtime: triton, model: {name: m}, port: 8001}",
        ("spec.protocol: Required value", "write protocol: HTTP2"),
    ),
    "MLServer's gRPC port of the container without a protocol": (
        "spec: {runtime: mlserver, model: {name: m}, "
        "template: {spec: {containers: [{name: model, image: i, ports: [{containerPort: 8081}]}]}}}",
        ("spec.protocol: Required value", "write protocol: HTTP2"),
    ),
    "nobody knows where an HTTP/2 server is asked for its model": (
        "spec: {runtime: openInference, model: {name: m}, protocol: HTTP2}",
        ("spec.healthPort: Required value", "for example healthPort: 8000"),
    ),
    "a Service that is none": ("spec: {service: {type: ExternalName}}", ("spec.service.type", '"NodePort"')),
    "a port for clients that is none": ("spec: {service: {port: 0}}", ("spec.service.port", "greater than or equal")),
    "annotations of the Service that are Serin's": (
        "spec: {service: {annotations: {serin.dev/applied-hash: x}}}",
        ("spec.service.annotations", "set by Serin: remove them"),
    ),
    "an annotation of the Service with a space": (
        "spec: {service: {annotations: {my team: x}}}",
        ("spec.service.annotations", "for example example.com/team"),
    ),
    "an application protocol with a space": (
        "spec: {service: {appProtocol: HTTP 2}}",
        ("spec.service.appProtocol", "for example http, grpc or kubernetes.io/h2c"),
    ),
    "an extra port without a name": (
        "spec: {service: {extraPorts: [{port: 9000}]}}",
        ("spec.service.extraPorts[0].name", "Required value"),
    ),
    "an extra port with the name of the Service's own": (
        "spec: {service: {extraPorts: [{name: http, port: 9000}]}}",
        ("spec.service.extraPorts[0].name", "rename the port in the template, for example to admin"),
    ),
    "an extra port with a name that no container port has": (
        "spec: {service: {extraPorts: [{name: gRPC_1, port: 9000}]}}",
        ("spec.service.extraPorts[0].name", "in lower case, for example admin"),
    ),
    "two extra ports of one number": (
        "spec: {service: {extraPorts: [{name: admin, port: 9000}, {name: grpc, port: 9000}]}}",
        ("spec.service.extraPorts", "two ports have the same number: change one"),
    ),
    "an extra port with the number of the Service's own": (
        "spec: {service: {port: 80, extraPorts: [{name: admin, port: 80}]}}",
        ("spec.service.extraPorts", "which leads to the router: change one"),
    ),
    "a protocol with a space at an extra port": (
        "spec: {service: {extraPorts: [{name: admin, port: 9000, appProtocol: HTTP 2}]}}",
        ("spec.service.extraPorts[0].appProtocol", "for example http, grpc or kubernetes.io/h2c"),
    ),
    "a health port that nobody asks at": (
        "spec: {healthPort: 8000}",
        ("spec.healthPort", "readinessProbe with a port of its own"),
    ),
    # --- the steps ---
    "no steps": (
        "spec: {strategy: {canary: {steps: []}}}",
        ("spec.strategy.canary.steps", "write at least one step with a weight", "or leave steps out"),
    ),
    "pauses only": (
        "spec: {strategy: {canary: {steps: [{pause: {}}]}}}",
        ("spec.strategy.canary.steps", "for example {weight: 10, bake: 10m}"),
    ),
    "weights that go down": (
        "spec: {strategy: {canary: {steps: [{weight: 25, bake: 5m}, {pause: {}}, {weight: 5, bake: 5m}]}}}",
        ("spec.strategy.canary.steps", "for example 5, 25, 50"),
    ),
    "more than everything": (
        "spec: {strategy: {canary: {steps: [{weight: 101, bake: 5m}]}}}",
        ("spec.strategy.canary.steps[0].weight", "less than or equal to 100"),
    ),
    "nothing": (
        "spec: {strategy: {canary: {steps: [{weight: 0, bake: 5m}]}}}",
        ("spec.strategy.canary.steps[0].weight", "greater than or equal to 1"),
    ),
    "weight in percent": (
        "spec: {strategy: {canary: {steps: [{weight: 5%, bake: 5m}]}}}",
        ("spec.strategy.canary.steps[0].weight", "must be of type integer"),
    ),
    "weight and pause in one step": (
        "spec: {strategy: {canary: {steps: [{weight: 5, bake: 5m, pause: {}}]}}}",
        ("spec.strategy.canary.steps[0]", "write exactly one of weight and bake", "and pause"),
    ),
    "empty step": (
        "spec: {strategy: {canary: {steps: [{weight: 5, bake: 5m}, {}]}}}",
        ("spec.strategy.canary.steps[1]", "write exactly one of weight and bake", "and pause"),
    ),
    "pause without braces": (
        "spec: {strategy: {canary: {steps: [{weight: 5, bake: 5m}, {pause: }]}}}",
        ("spec.strategy.canary.steps[1]", "and pause, for example {pause: {}}"),
    ),
    "weight without bake": (
        "spec: {strategy: {canary: {steps: [{weight: 5}]}}}",
        ("spec.strategy.canary.steps[0].bake: Required value", "for example bake: 10m"),
    ),
    "bake in words": (
        "spec: {strategy: {canary: {steps: [{weight: 5, bake: 5 minutes}]}}}",
        ("spec.strategy.canary.steps[0].bake", "for example 90s, 10m or 1h30m"),
    ),
    "bake of a month": (
        "spec: {strategy: {canary: {steps: [{weight: 5, bake: 720h}]}}}",
        ("spec.strategy.canary.steps[0].bake", "at most 168h"),
    ),
    "requests for a pause": (
        "spec: {strategy: {canary: {steps: [{weight: 5, bake: 5m}, {pause: {}, minRequests: 5}]}}}",
        ("spec.strategy.canary.steps[1]", "belong to a step with weight, mirror or match: remove them"),
    ),
    "pause of no time": (
        "spec: {strategy: {canary: {steps: [{weight: 5, bake: 5m}, {pause: {for: 0s}}]}}}",
        ("spec.strategy.canary.steps[1].pause.for", "or leave it out to wait for approval"),
    ),
    "approvals of a pause for a time": (
        "spec: {strategy: {canary: {steps: [{weight: 5, bake: 5m}, {pause: {for: 1h, approvals: 2}}]}}}",
        ("spec.strategy.canary.steps[1].pause", "a pause for a time waits for nobody: remove for"),
    ),
    "an approval of one that expires": (
        "spec: {strategy: {canary: {steps: [{weight: 5, bake: 5m}, {pause: {expireAfter: 8h}}]}}}",
        ("spec.strategy.canary.steps[1].pause.expireAfter", "remove expireAfter, or write approvals: 2"),
    ),
    "approvals that expire at once": (
        "spec: {strategy: {canary: {steps: [{weight: 5, bake: 5m}, {pause: {approvals: 2, expireAfter: 1s}}]}}}",
        ("spec.strategy.canary.steps[1].pause.expireAfter", "write a duration from 1m to 720h, for example 8h"),
    ),
    "approvals of more people than anybody has": (
        "spec: {strategy: {canary: {steps: [{weight: 5, bake: 5m}, {pause: {approvals: 11}}]}}}",
        ("spec.strategy.canary.steps[1].pause.approvals", "less than or equal to 10"),
    ),
    "longest duration in days": (
        "spec: {strategy: {canary: {maxDuration: 2d}}}",
        ("spec.strategy.canary.maxDuration", "for example 6h"),
    ),
    "too many steps": (
        "spec: {strategy: {canary: {steps: [" + ", ".join(["{weight: 5, bake: 1m}"] * 21) + "]}}}",
        ("spec.strategy.canary.steps: Too many", "must have at most 20"),
    ),
    "no time for the steps": (
        "spec: {strategy: {canary: {steps: [{weight: 5, bake: 30m}, {pause: {for: 31m}}], maxDuration: 1h}}}",
        ("spec.strategy.canary.maxDuration", "at least the bakes and timed pauses of all steps"),
    ),
    # --- the metrics ---
    "nothing watched": ("spec: {metrics: []}", ("spec.metrics", "write at least one metric, or leave metrics out")),
    "two metrics of one name": (
        "spec: {metrics: [{name: a, template: {name: t}}, {name: a, template: {name: u}}]}",
        ("spec.metrics: ", "two metrics have the same name: write a name of its own for each"),
    ),
    "metric name in upper case": (
        "spec: {metrics: [{name: Errors, template: {name: t}}]}",
        ("spec.metrics[0].name", "for example error-rate"),
    ),
    "metric without a source": (
        "spec: {metrics: [{name: a}]}",
        ("spec.metrics[0]", "write exactly one of template: {name: ...}, ratio:"),
    ),
    "metric with two sources": (
        "spec: {metrics: [{name: a, template: {name: t}, value: {query: up, min: '1'}}]}",
        ("spec.metrics[0]", "write exactly one of template"),
    ),
    "ratio without a total": (
        "spec: {metrics: [{name: a, ratio: {bad: 'errors_total{ {{.version}} }'}}]}",
        ("spec.metrics[0].ratio.total: Required value",),
    ),
    "ratio that does not tell the versions apart": (
        "spec: {metrics: [{name: a, ratio: {bad: errors_total, total: 'all_total{ {{.version}} }'}}]}",
        ("spec.metrics[0].ratio.bad", "write {{.version}} where the version's labels go"),
    ),
    "total that does not tell the versions apart": (
        "spec: {metrics: [{name: a, ratio: {bad: 'errors_total{ {{.version}} }', total: all_total}}]}",
        ("spec.metrics[0].ratio.total", "for example answers_total{ {{.version}} }"),
    ),
    "value without limits": (
        "spec: {metrics: [{name: a, value: {query: up}}]}",
        ("spec.metrics[0].value", 'for example max: "0.95"'),
    ),
    "value's limit as a number": (
        "spec: {metrics: [{name: a, value: {query: up, max: 0.95}}]}",
        ("spec.metrics[0].value.max", "must be of type string"),
    ),
    "value's limit in percent": (
        "spec: {metrics: [{name: a, value: {query: up, max: 95%}}]}",
        ("spec.metrics[0].value.max", 'for example "0.95" or "500m"'),
    ),
    "value's lower limit in words": (
        "spec: {metrics: [{name: a, value: {query: up, min: one}}]}",
        ("spec.metrics[0].value.min", 'for example "0.95" or "500m"'),
    ),
    "value that cannot pass": (
        "spec: {metrics: [{name: a, value: {query: up, min: '1', max: 500m}}]}",
        ("spec.metrics[0].value", "write a min that is not above max"),
    ),
    "value against stable": (
        "spec: {metrics: [{name: a, against: stable, value: {query: up, max: '1'}}]}",
        ("spec.metrics[0].against", "its own min and max: remove against"),
    ),
    "against a limit that is missing": (
        "spec: {metrics: [{name: a, template: {name: request-errors}, against: limit}]}",
        ("spec.metrics[0].limit: Required value", 'for example limit: "0.01"'),
    ),
    "limit that nothing is compared with": (
        "spec: {metrics: [{name: a, template: {name: request-errors}, limit: '0.01'}]}",
        ("spec.metrics[0].limit", "against: limit, snapshot, history or day: write that too, or remove limit"),
    ),
    "limit in percent": (
        "spec: {metrics: [{name: a, template: {name: request-errors}, against: limit, limit: '1'}]}",
        ("spec.metrics[0].limit", 'above 0 and below 1, for example "0.01"'),
    ),
    "limit with a unit": (
        "spec: {metrics: [{name: a, template: {name: request-latency}, against: limit, limit: 300ms}]}",
        ("spec.metrics[0].limit", 'write a number as text, for example "0.01" or "250"'),
    ),
    "limit of a ratio that nothing can break": (
        "spec: {metrics: [{name: a, ratio: {bad: 'b{ {{.version}} }', total: 't{ {{.version}} }'}, "
        "against: limit, limit: '1.5'}]}",
        ("spec.metrics[0].limit", "above 0 and below 1"),
    ),
    "for of a ratio": (
        "spec: {metrics: [{name: a, template: {name: request-errors}, for: 2m}]}",
        ("spec.metrics[0].for", "remove for"),
    ),
    "for without a unit": (
        "spec: {metrics: [{name: a, value: {query: up, min: '1'}, for: '120'}]}",
        ("spec.metrics[0].for", "from 1s to 24h, for example 2m"),
    ),
    "a distribution against a limit": (
        "spec: {metrics: [{name: a, " + ANSWERS + ", against: limit, limit: '0.1'}]}",
        ("spec.metrics[0].against", "the limit alone says which difference counts"),
    ),
    "a ratio against a reference": (
        "spec: {metrics: [{name: a, template: {name: request-errors}, severity: info, against: reference}]}",
        ("spec.metrics[0].against", "only a distribution can have a reference"),
    ),
    "a reference that is missing": (
        "spec: {metrics: [{name: a, " + ANSWERS + ", against: reference, severity: info}]}",
        ("spec.metrics[0].distribution.reference: Required value", "for example {legit: 9700, fraud: 300}"),
    ),
    "a reference that nothing is compared with": (
        "spec: {metrics: [{name: a, " + KNOWN + "}]}",
        ("spec.metrics[0].distribution.reference", "against: reference: write that too, or remove reference"),
    ),
    "drift that rolls back": (
        "spec: {metrics: [{name: a, " + KNOWN + ", against: reference}]}",
        ("spec.metrics[0].severity", "the data may have drifted, and no rollback mends that"),
    ),
    "a reference without an answer": (
        "spec: {metrics: [{name: a, " + KNOWN.replace("97", "0").replace("3", "0") + ", against: reference}]}",
        ("spec.metrics[0].distribution.reference", "write how many answers of each category"),
    ),
    "a reference with one category": (
        "spec: {metrics: [{name: a, " + KNOWN.replace(", fraud: 3", "") + ", against: reference}]}",
        ("spec.metrics[0].distribution.reference", "should have at least 2 properties"),
    ),
    "a reference in shares": (
        "spec: {metrics: [{name: a, " + KNOWN.replace("97", "0.97") + ", against: reference}]}",
        ("spec.metrics[0].distribution.reference.legit", "must be of type integer"),
    ),
    "more categories than there are places": (
        "spec: {metrics: [{name: a, "
        + KNOWN.replace("legit: 97", ", ".join(f"c{index}: 1" for index in range(19)))
        + ", against: reference}]}",
        ("spec.metrics[0].distribution.reference", "must have at most 19"),
    ),
    "buckets named like categories": (
        "spec: {metrics: [{name: a, " + KNOWN.replace("by: label", "by: le") + ", against: reference}]}",
        ("spec.metrics[0].distribution.reference", "write their upper bounds, for example"),
    ),
    "a label that is none": (
        "spec: {metrics: [{name: a, " + ANSWERS.replace("by: label", "by: a.b") + "}]}",
        ("spec.metrics[0].distribution.by", "write the name of a label, for example label, or le"),
    ),
    "answers that do not tell the versions apart": (
        "spec: {metrics: [{name: a, distribution: {counts: a_total, by: label}}]}",
        ("spec.metrics[0].distribution.counts", "for example predictions_total{ {{.version}} }"),
    ),
    "a PSI in percent": (
        "spec: {metrics: [{name: a, " + ANSWERS + ", limit: '10'}]}",
        ("spec.metrics[0].limit", "the smallest PSI that counts as a difference as text, above 0 and below 1"),
    ),
    "a mean against a limit": (
        "spec: {metrics: [{name: a, " + TOKENS + ", against: limit, limit: '1.1'}]}",
        ("spec.metrics[0].against", "the limit alone says which difference counts"),
    ),
    "a mean that must be under stable's": (
        "spec: {metrics: [{name: a, " + TOKENS + ", limit: '0.9'}]}",
        ("spec.metrics[0].limit", "how many times stable's mean or concentration is still good as text, from 1 to 100"),
    ),
    "a concentration against a limit": (
        "spec: {metrics: [{name: a, " + ITEMS + ", against: limit, limit: '0.1'}]}",
        ("spec.metrics[0].against", "the limit alone says which difference counts"),
    ),
    "a concentration that must be under stable's": (
        "spec: {metrics: [{name: a, " + ITEMS + ", limit: '0.9'}]}",
        ("spec.metrics[0].limit", "how many times stable's mean or concentration is still good as text"),
    ),
    "a concentration of everybody": (
        "spec: {metrics: [{name: a, concentration: {counts: r_total, by: item}}]}",
        ("spec.metrics[0].concentration.counts", "for example recommendations_total{ {{.version}} }"),
    ),
    "a concentration of buckets": (
        "spec: {metrics: [{name: a, " + ITEMS.replace("by: item", "by: le") + "}]}",
        ("spec.metrics[0].concentration.by", "buckets (le) are no answers"),
    ),
    "a concentration as the goal of a test": (
        "spec: {metrics: [{name: a, "
        + ITEMS
        + "}], strategy: {abTest: {sticky: {header: x-user}, goal: {metric: a}}}}",
        ("spec.strategy.abTest.goal.metric", "write the name of one of spec.metrics that is a ratio or a mean"),
    ),
    "a mean of everybody": (
        "spec: {metrics: [{name: a, mean: {sum: t_sum, count: 't_count{ {{.version}} }'}}]}",
        ("spec.metrics[0].mean.sum", "for example answer_tokens_sum{ {{.version}} }"),
    ),
    "a mean's count of everybody": (
        "spec: {metrics: [{name: a, mean: {sum: 't_sum{ {{.version}} }', count: t_count}}]}",
        ("spec.metrics[0].mean.count", "for example answer_tokens_count{ {{.version}} }"),
    ),
    "answers of which fewer are worse": (
        "spec: {metrics: [{name: a, " + ANSWERS + ", lowerIsWorse: true}]}",
        ("spec.metrics[0].lowerIsWorse", "lowerIsWorse belongs to a metric with mean"),
    ),
    "tolerance of failures": (
        "spec: {metrics: [{name: a, template: {name: request-errors}, tolerance: {percent: 10}}]}",
        ("spec.metrics[0].tolerance", "tolerance belongs to a latency that is compared with stable"),
    ),
    "tolerance beside a limit": (
        "spec: {metrics: [{name: a, template: {name: t}, against: limit, limit: '250', tolerance: {percent: 10}}]}",
        ("spec.metrics[0].tolerance", "limit says what is still good"),
    ),
    "a warm-up without a unit": (
        "spec: {analysis: {warmup: '30'}}",
        ("spec.analysis.warmup", "write a duration of at most 1h, for example 30s, or 0s for none"),
    ),
    "unknown severity": (
        "spec: {metrics: [{name: a, template: {name: t}, severity: high}]}",
        ("spec.metrics[0].severity", '"critical", "major", "minor", "info"'),
    ),
    "too many metrics": (
        "spec: {metrics: [" + ", ".join(f"{{name: m{index}, template: {{name: t}}}}" for index in range(17)) + "]}",
        ("spec.metrics: Too many", "must have at most 16"),
    ),
    # --- the analysis ---
    "look too often": ("spec: {analysis: {interval: 100ms}}", ("spec.analysis.interval", "from 1s to 1h")),
    "promise as a number": (
        "spec: {analysis: {falseRollbackRate: {critical: 0.01}}}",
        ("spec.analysis.falseRollbackRate.critical", "must be of type string"),
    ),
    "promise in percent": (
        "spec: {analysis: {falseRollbackRate: {critical: 1%}}}",
        ("spec.analysis.falseRollbackRate.critical", 'as text, for example "0.01"'),
    ),
    "promise that cannot be kept": (
        "spec: {analysis: {falseRollbackRate: {minor: '0.0'}}}",
        ("spec.analysis.falseRollbackRate.minor", "from 0.000001 to 0.5"),
    ),
    "able to see what is better": (
        "spec: {analysis: {minimumDetectableEffect: '0.5'}}",
        ("spec.analysis.minimumDetectableEffect", 'from 1.05 to 100 as text, for example "2" or "1.5"'),
    ),
    "unknown action": ("spec: {analysis: {onNoData: {action: Promote}}}", ("onNoData.action", '"Hold", "Rollback"')),
    "no data for how long": ("spec: {analysis: {onNoData: {after: 1d}}}", ("onNoData.after", "for example 30m")),
    # --- the deadline ---
    # --- notifications ---
    "a notification for nobody": (
        "spec: {notifications: [{events: [Promoted]}]}",
        ("spec.notifications[0].webhook", "for example webhook: {name: oncall}"),
    ),
    "a notification to an address": (
        "spec: {notifications: [{webhook: {url: http://x}}]}",
        ("spec.notifications[0].webhook.url", "unknown field"),
    ),
    "two notifications to one webhook": (
        "spec: {notifications: [{webhook: {name: hook}}, {webhook: {name: hook}, events: [Promoted]}]}",
        ("spec.notifications", "a webhook is there twice: write it once, with all of its events"),
    ),
    "a notification of what does not happen": (
        "spec: {notifications: [{webhook: {name: hook}, events: [Failed]}]}",
        ("spec.notifications[0].events[0]", "RolledBack"),
    ),
    "a notification of nothing": (
        "spec: {notifications: [{webhook: {name: hook}, events: []}]}",
        ("spec.notifications[0].events", "at least 1"),
    ),
    # --- retraining ---
    "retraining without a trigger": (
        "spec: {retraining: {webhook: {name: hook}}}",
        ("spec.retraining.triggers", "for example triggers: [{drift: {}}"),
    ),
    "retraining by nobody": (
        "spec: {retraining: {triggers: [{drift: {}}]}}",
        ("spec.retraining", "write exactly one of job: {spec:"),
    ),
    "retraining by both": (
        "spec: {retraining: {triggers: [{drift: {}}], webhook: {name: hook}, job: JOB}}".replace("JOB", JOB),
        ("spec.retraining", "write exactly one of job: {spec:"),
    ),
    "two triggers in one": (
        "spec: {retraining: {triggers: [{drift: {}, schedule: {every: 1h}}], webhook: {name: hook}}}",
        ("spec.retraining.triggers[0]", "write exactly one of schedule: {every: 168h}"),
    ),
    "a trigger of nothing": (
        "spec: {retraining: {triggers: [{}], webhook: {name: hook}}}",
        ("spec.retraining.triggers[0]", "write exactly one of schedule: {every: 168h}"),
    ),
    "two schedules": (
        "spec: {retraining: {triggers: [{schedule: {every: 1h}}, {schedule: {every: 2h}}], webhook: {name: hook}}}",
        ("spec.retraining.triggers", "schedule is there twice"),
    ),
    "two volumes": (
        "spec: {retraining: {triggers: [{volume: {metric: errors, requests: 1}}, "
        "{volume: {metric: errors, requests: 2}}], webhook: {name: hook}}}",
        ("spec.retraining.triggers", "volume is there twice"),
    ),
    "retrained every second": (
        "spec: {retraining: {triggers: [{schedule: {every: 1s}}], webhook: {name: hook}}}",
        ("spec.retraining.triggers[0].schedule.every", "from 1m to 8760h, for example 168h"),
    ),
    "rollbacks within days": (
        "spec: {retraining: {triggers: [{rollbacks: {count: 3, within: 7d}}], webhook: {name: hook}}}",
        ("spec.retraining.triggers[0].rollbacks.within", "from 1m to 8760h"),
    ),
    "a cool-down in days": (
        "spec: {retraining: {triggers: [{drift: {}}], cooldown: 1d, webhook: {name: hook}}}",
        ("spec.retraining.cooldown", "from 0s to 8760h, for example 24h"),
    ),
    "volume of an unknown metric": (
        "spec: {retraining: {triggers: [{volume: {metric: labels, requests: 5}}], webhook: {name: hook}}}",
        ("spec.retraining.triggers", "the name of one of spec.metrics that is no value"),
    ),
    "performance without a watch": (
        "spec: {metrics: [{name: a, template: {name: request-errors}, against: limit, limit: '0.1'}], "
        "retraining: {triggers: [{performance: {metric: a}}], webhook: {name: hook}}}",
        ("spec.retraining.triggers", "write watch: {} too"),
    ),
    "performance beside stable": (
        "spec: {watch: {}, metrics: [{name: a, template: {name: request-errors}}, "
        "{name: b, template: {name: request-errors}, against: limit, limit: '0.1'}], "
        "retraining: {triggers: [{performance: {metric: a}}], webhook: {name: hook}}}",
        ("spec.retraining.triggers", "with a value, or with against: limit, snapshot, history, day or reference"),
    ),
    "performance of what is only shown": (
        "spec: {watch: {}, metrics: [{name: a, template: {name: request-errors}}, "
        "{name: b, template: {name: request-errors}, against: limit, limit: '0.1', severity: info}], "
        "retraining: {triggers: [{performance: {metric: b}}], webhook: {name: hook}}}",
        ("spec.retraining.triggers", "that is not info"),
    ),
    "a webhook without a name": (
        "spec: {retraining: {triggers: [{drift: {}}], webhook: {}}}",
        ("spec.retraining.webhook.name", "a webhook that the platform has set up"),
    ),
    "a webhook by its address": (
        "spec: {retraining: {triggers: [{drift: {}}], webhook: {url: http://x}}}",
        ("spec.retraining.webhook.url", "unknown field"),
    ),
    "a Job without a spec": (
        "spec: {retraining: {triggers: [{drift: {}}], job: {metadata: {labels: {team: risk}}}}}",
        ("spec.retraining.job.spec", "write a Job's spec"),
    ),
    "a Job with labels of Serin": (
        "spec: {retraining: {triggers: [{drift: {}}], job: {metadata: {labels: {serin.dev/role: stable}}, "
        "spec: {template: {spec: {containers: [{name: train, image: i}]}}}}}}",
        ("spec.retraining.job.metadata.labels", "are set by Serin: remove them"),
    ),
    "a Job without containers": (
        "spec: {retraining: {triggers: [{drift: {}}], job: {spec: {template: {spec: {}}}}}}",
        ("spec.retraining.job.spec.template.spec.containers", "write at least one container"),
    ),
    "a Job of a model's labels": (
        "spec: {retraining: {triggers: [{drift: {}}], job: {spec: {template: {metadata: "
        "{labels: {serin.dev/snapshot: x}}, spec: {containers: [{name: train, image: i}]}}}}}}",
        ("spec.retraining.job.spec.template.metadata.labels", "labels that start with serin.dev/ are set by Serin"),
    ),
    "a Job that selects pods": (
        "spec: {retraining: {triggers: [{drift: {}}], job: {spec: {manualSelector: true, template: "
        "{spec: {containers: [{name: train, image: i}]}}}}}}",
        ("spec.retraining.job.spec.manualSelector", "unknown field"),
    ),
    "a Job that never ends": (
        "spec: {retraining: {triggers: [{drift: {}}], job: {spec: {template: "
        "{spec: {restartPolicy: Always, containers: [{name: train, image: i}]}}}}}}",
        ("spec.retraining.job.spec.template.spec.restartPolicy", "OnFailure"),
    ),
    "a Job with a variable of Serin's": (
        "spec: {retraining: {triggers: [{drift: {}}], job: {spec: {template: "
        "{spec: {containers: [{name: train, image: i, env: [{name: SERIN_X, value: y}]}]}}}}}}",
        ("spec.retraining.job.spec.template.spec.containers[0]", "variables that start with SERIN_ are set by Serin"),
    ),
    # --- snapshots ---
    # --- guard ---
    "a guard without checks": (
        "spec: {guard: {output: {checks: []}}}",
        ("spec.guard.output.checks", "at least 1 items"),
    ),
    "outputs of a protocol that is none": (
        "spec: {guard: {output: {protocol: gRPC, checks: [{path: a, finite: true}]}}}",
        ("spec.guard.output.protocol", '"OpenInference", "KServeV1", "OpenAI", "JSON"'),
    ),
    "a fallback without an answer": (
        "spec: {guard: {output: {checks: [{path: a, finite: true}], fallback: {}}}}",
        ("spec.guard.output.fallback", "write the answer, for example answer: {status: 200"),
    ),
    "a fallback that is a Service": (
        "spec: {guard: {output: {checks: [{path: a, finite: true}], fallback: {service: {name: rules, port: 80}}}}}",
        ('unknown field "spec.guard.output.fallback.service"',),
    ),
    "a fallback of no media type": (
        "spec: {guard: {output: {checks: [{path: a, finite: true}], fallback: {answer: {contentType: json}}}}}",
        ("spec.guard.output.fallback.answer.contentType", "write a media type"),
    ),
    "a check of nowhere": (
        "spec: {guard: {output: {checks: [{finite: true}]}}}",
        ("spec.guard.output.checks[0].path", "Required value"),
    ),
    "a check of nothing": (
        "spec: {guard: {output: {checks: [{path: a}]}}}",
        (
            "spec.guard.output.checks[0]",
            "write what must hold there: finite: true, min, max, labels, sumsToOne: true or shape",
        ),
    ),
    "labels that are numbers": (
        "spec: {guard: {output: {checks: [{path: a, labels: [b], max: '1'}]}}}",
        ("spec.guard.output.checks[0]", "write two checks of the same path"),
    ),
    "a shape of any JSON": (
        "spec: {guard: {output: {protocol: JSON, checks: [{path: a, shape: [-1]}]}}}",
        ("spec.guard.output.checks", "only outputs of OpenInference have a shape: remove shape"),
    ),
    "a check that is switched off": (
        "spec: {guard: {output: {checks: [{path: a, max: '1', finite: false}]}}}",
        ("spec.guard.output.checks[0].finite", "write true, or leave it out"),
    ),
    "a sum that is switched off": (
        "spec: {guard: {output: {checks: [{path: a, max: '1', sumsToOne: false}]}}}",
        ("spec.guard.output.checks[0].sumsToOne", "write true, or leave it out"),
    ),
    "a smallest number in words": (
        "spec: {guard: {output: {checks: [{path: a, min: none}]}}}",
        ("spec.guard.output.checks[0].min", 'write a number in quotes, for example "0"'),
    ),
    "a largest number in percent": (
        "spec: {guard: {output: {checks: [{path: a, max: 100%}]}}}",
        ("spec.guard.output.checks[0].max", 'write a number in quotes, for example "1"'),
    ),
    "requests that roll back": (
        _past("severity: major", against="day"),
        ("spec.metrics[0].severity", "write minor (tells, and may begin a retraining) or info"),
    ),
    "a comparison of nothing": (
        "spec: {guard: {agreement: {share: 5}}}",
        ("spec.guard.agreement.compare", "Required value"),
    ),
    "a comparison of nowhere": (
        "spec: {guard: {agreement: {compare: [{tolerance: '1'}]}}}",
        ("spec.guard.agreement.compare[0].path", "Required value"),
    ),
    "a comparison of more than all requests": (
        "spec: {guard: {agreement: {share: 101, compare: [{path: a}]}}}",
        ("spec.guard.agreement.share", "less than or equal to 100"),
    ),
    "a tolerance of ranks": (
        "spec: {guard: {agreement: {compare: [{path: a, topK: 3, tolerance: '1'}]}}}",
        ("spec.guard.agreement.compare[0]", "remove the tolerance, or write two entries of the same path"),
    ),
    "an overlap of what is no list": (
        "spec: {guard: {agreement: {compare: [{path: a, overlap: '0.8'}]}}}",
        ("spec.guard.agreement.compare[0]", "order and overlap belong to topK: write it too, for example topK: 10"),
    ),
    "a tolerance of answers in percent": (
        "spec: {guard: {agreement: {compare: [{path: a, tolerance: 5%}]}}}",
        ("spec.guard.agreement.compare[0].tolerance", 'write a number in quotes, for example "0.01"'),
    ),
    "a relative tolerance in percent": (
        "spec: {guard: {agreement: {compare: [{path: a, relativeTolerance: 5%}]}}}",
        ("spec.guard.agreement.compare[0].relativeTolerance", "write a share in quotes"),
    ),
    "an overlap of nothing": (
        "spec: {guard: {agreement: {compare: [{path: a, topK: 3, overlap: '0.0'}]}}}",
        ("spec.guard.agreement.compare[0].overlap", "write the share that must be the same, above 0"),
    ),
    "disagreements with nobody": (
        "spec: {metrics: [{name: a, template: {name: disagreements}, severity: critical}]}",
        ("spec.metrics[0].against", "stable never disagrees with itself: write against: limit"),
    ),
    "requests that a version is to blame for": (
        "spec: {metrics: [{name: a, template: {name: invalid-inputs}, severity: minor}]}",
        ("spec.metrics[0].against", "invalid requests are no version's doing: write against: day"),
    ),
    "half of the day that it is compared with": (
        _past("severity: minor, window: 13h", against="day"),
        ("spec.metrics[0].window", "12h or shorter: write for example 1h, or against: history"),
    ),
    "the day before of what is not watched": (
        _past("severity: minor", against="day", watch=""),
        ("spec.metrics", "only while it is watched after the promotion"),
    ),
    "a share for a limit of the day before": (
        _past("severity: minor, limit: '0.01'", against="day"),
        ("spec.metrics[0].limit", "write how many times its past is still good"),
    ),
    "a distribution of the day before": (
        f"spec: {{metrics: [{{name: a, {ANSWERS}, against: day, severity: minor}}], watch: {{}}}}",
        ("spec.metrics[0].against", "a distribution has no such past"),
    ),
    "recording of nothing": (
        "spec: {guard: {record: {share: 5}}}",
        ("spec.guard.record.predictions", "Required value"),
    ),
    "recording of more than all answers": (
        "spec: {guard: {record: {share: 101, predictions: [{name: a, path: a, labels: [b]}]}}}",
        ("spec.guard.record.share", "less than or equal to 100"),
    ),
    "recording of whatever is answered": (
        "spec: {guard: {record: {predictions: [{name: a, path: a}]}}}",
        ("spec.guard.record.predictions[0]", "write what is counted: either labels, for texts and whole numbers"),
    ),
    "recording of a field with spaces": (
        "spec: {guard: {record: {predictions: [{name: A b, path: a, labels: [b]}]}}}",
        ("spec.guard.record.predictions[0].name", "write lower-case letters, digits, - and _, for example label"),
    ),
    "recording of what counts as other": (
        "spec: {guard: {record: {predictions: [{name: a, path: a, labels: [b, other]}]}}}",
        ("spec.guard.record.predictions[0].labels", "everything that is not named is counted as other already"),
    ),
    "recording of more labels than there is room for": (
        "spec: {guard: {record: {predictions: [{name: a, path: a, labels: ["
        + ", ".join(f"a{number}" for number in range(21))
        + "]}]}}}",
        ("spec.guard.record.predictions[0].labels", "must have at most 20 items"),
    ),
    "recording by a bound in percent": (
        "spec: {guard: {record: {predictions: [{name: a, path: a, buckets: [5%]}]}}}",
        ("spec.guard.record.predictions[0].buckets[0]", 'write a number in quotes, for example "0.5"'),
    ),
    "a share of a label of more than all": (
        _recorded("prediction-share", "against: limit, limit: '5'"),
        ("spec.metrics[0].limit", "write the largest acceptable share of bad requests as text, above 0 and below 1"),
    ),
    "a limit of a label's share that is compared with stable": (
        _recorded("prediction-share", "limit: '0.1'"),
        ("spec.metrics[0].limit", "limit only counts with against: limit, snapshot, history or day"),
    ),
    "a reference of a label's share": (
        _recorded("prediction-share", "against: reference"),
        ("spec.metrics[0].against", "only a distribution can have a reference"),
    ),
    "a reference of recorded labels": (
        _recorded("predictions", "against: reference"),
        ("spec.metrics[0].against", "only a distribution can have a reference"),
    ),
    "recorded labels by country": (
        _recorded("predictions", "by: country"),
        ("spec.metrics[0].by", "by belongs to a ratio of your own counters"),
    ),
    "recorded labels with a limit alone": (
        _recorded("predictions", "against: limit, limit: '0.1'"),
        ("spec.metrics[0].against", "distributions, means and concentrations are compared with stable"),
    ),
    "recorded numbers and their past": (
        _recorded("prediction-values", "against: history"),
        ("spec.metrics[0].against", "a distribution has no such past"),
    ),
    "recorded numbers that differ by more than all": (
        _recorded("prediction-values", "limit: '1'"),
        ("spec.metrics[0].limit", "write the smallest PSI that counts as a difference"),
    ),
    "recorded numbers that may be slower": (
        _recorded("prediction-values", "tolerance: {percent: 5}"),
        ("spec.metrics[0].tolerance", "tolerance belongs to a latency that is compared with stable"),
    ),
    "a review of nothing": (
        "spec: {guard: {review: {share: 5}}}",
        (
            "spec.guard.review",
            "write what people see, as nothing else is kept: paths in request, in answer, or in both",
        ),
    ),
    "a confidence in percent": (
        "spec: {guard: {review: {answer: [label], confidence: {path: p, below: 60%}}}}",
        ("spec.guard.review.confidence.below", 'write a number in quotes, for example "0.6"'),
    ),
    "a confidence of nowhere": (
        "spec: {guard: {review: {answer: [label], confidence: {below: '0.6'}}}}",
        ("spec.guard.review.confidence.path", "Required value"),
    ),
    "a review for ever": (
        "spec: {guard: {review: {answer: [label], expireAfter: 9000h}}}",
        ("spec.guard.review.expireAfter", "write a duration from 10m to 2160h, for example 168h"),
    ),
    "more than people can look at": (
        "spec: {guard: {review: {answer: [label], perHour: 500}}}",
        ("spec.guard.review.perHour", "less than or equal to 120"),
    ),
    "a guard of nothing": (
        "spec: {guard: {}}",
        ("spec.guard", "write what is checked: input, for requests, output, for answers, or agreement"),
    ),
    "requests of which nothing must hold": (
        "spec: {guard: {input: {onInvalid: Count}}}",
        (
            "spec.guard.input",
            "write what must hold: columns, for example [{name: amount, type: Number}], rows, sign",
        ),
    ),
    "a path where the protocol has its own": (
        "spec: {guard: {input: {rows: 1, path: a}}}",
        ("spec.guard.input.path", "remove path, or write protocol: JSON"),
    ),
    "a tensor without a name": (
        "spec: {guard: {input: {columns: [{index: 1}]}}}",
        ("spec.guard.input.columns", "columns of OpenInference are tensors: write the name of each"),
    ),
    "a column of a row by name and by place": (
        "spec: {guard: {input: {protocol: KServeV1, columns: [{name: a, index: 1}]}}}",
        ("spec.guard.input.columns", "write either name or index for each"),
    ),
    "a column that is none": (
        "spec: {guard: {input: {protocol: JSON, columns: [{type: Number}]}}}",
        ("spec.guard.input.columns[0]", "write which column it is: name, or index for its place in a row"),
    ),
    "a place in a completion": (
        "spec: {guard: {input: {protocol: OpenAI, columns: [{index: 1}]}}}",
        ("spec.guard.input.columns", "columns of OpenAI are fields of the request: write the name of each"),
    ),
    "a shape of a column": (
        "spec: {guard: {input: {protocol: JSON, columns: [{name: a, shape: [1]}]}}}",
        ("spec.guard.input.columns", "only tensors of OpenInference have a shape: remove shape"),
    ),
    "a shape of a part of a tensor": (
        "spec: {guard: {input: {columns: [{name: a, index: 0, shape: [1]}]}}}",
        ("spec.guard.input.columns[0]", "write it for the same name in an entry without index"),
    ),
    "a size below any": (
        "spec: {guard: {input: {columns: [{name: a, shape: [-2]}]}}}",
        ("spec.guard.input.columns[0].shape[0]", "greater than or equal to -1"),
    ),
    "a range of texts": (
        "spec: {guard: {input: {columns: [{name: a, type: Text, max: '1'}]}}}",
        ("spec.guard.input.columns[0]", "min and max are for numbers: write type: Number or Integer, or remove them"),
    ),
    "categories of numbers": (
        "spec: {guard: {input: {columns: [{name: a, type: Number, categories: ['1']}]}}}",
        ("spec.guard.input.columns[0]", "write type: Text or Integer, or remove them"),
    ),
    "a type that is none": (
        "spec: {guard: {input: {columns: [{name: a, type: Float}]}}}",
        ("spec.guard.input.columns[0].type", '"Number", "Integer", "Text", "Boolean"'),
    ),
    "a least input in words": (
        "spec: {guard: {input: {columns: [{name: a, min: none}]}}}",
        ("spec.guard.input.columns[0].min", 'write a number in quotes, for example "0"'),
    ),
    "a largest input in percent": (
        "spec: {guard: {input: {columns: [{name: a, max: 100%}]}}}",
        ("spec.guard.input.columns[0].max", 'write a number in quotes, for example "1"'),
    ),
    "a value that is missing or not": (
        "spec: {guard: {input: {columns: [{name: a, missing: false}]}}}",
        ("spec.guard.input.columns[0].missing", "write true, or leave it out"),
    ),
    "a signature of rows": (
        "spec: {guard: {input: {protocol: JSON, signature: true}}, integrity: {signature: Required}}",
        ("spec.guard.input.signature", "a signature is of tensors: remove it, or write protocol: OpenInference"),
    ),
    "a signature that nobody says": (
        "spec: {guard: {input: {signature: true}}}",
        ("spec.guard.input.signature", "write integrity: {signature: Required}, so that the model server is asked"),
    ),
    "a signature that is switched off": (
        "spec: {guard: {input: {rows: 1, signature: false}}, integrity: {signature: Required}}",
        ("spec.guard.input.signature", "write true, or leave it out"),
    ),
    "answers of which nothing must hold": (
        "spec: {guard: {output: {protocol: JSON}}}",
        ("spec.guard.output", "write what must hold: checks, for example [{path: score, finite: true}], or schema"),
    ),
    "a schema of answers that is none": (
        "spec: {guard: {output: {schema: 'true'}}}",
        ("spec.guard.output.schema", "write a JSON Schema as text"),
    ),
    "a schema of requests that is none": (
        "spec: {guard: {input: {schema: '[1]'}}}",
        ("spec.guard.input.schema", "write a JSON Schema as text"),
    ),
    "a schema of answers that is elsewhere": (
        """spec: {guard: {output: {schema: '{"$ref": "http://a"}'}}}""",
        ("spec.guard.output.schema", "write what $ref refers to in its place"),
    ),
    "a schema of requests with a pattern": (
        """spec: {guard: {input: {schema: '{"pattern" : "(a+)+$"}'}}}""",
        ("spec.guard.input.schema", "enum, minLength or maxLength instead of pattern and format"),
    ),
    "requests without a row": (
        "spec: {guard: {input: {rows: 0}}}",
        ("spec.guard.input.rows", "greater than or equal to 1"),
    ),
    "invalid requests that are ignored": (
        "spec: {guard: {input: {rows: 1, onInvalid: Ignore}}}",
        ("spec.guard.input.onInvalid", '"Reject", "Count"'),
    ),
    # --- golden probes ---
    "a probe without an answer": (
        "spec: {integrity: {goldenProbes: [{name: known, path: /p, body: '{}'}]}}",
        ("spec.integrity.goldenProbes[0]", "write a request and its right answer, both JSON in quotes"),
    ),
    "a probe without a name": (
        "spec: {integrity: {goldenProbes: [{path: /p, body: '{}', expected: '[1]'}]}}",
        ("spec.integrity.goldenProbes[0].name", "Required value"),
    ),
    "a name with spaces": (
        PROBE.replace("name: known", "name: the first").replace(", WHAT", ""),
        ("spec.integrity.goldenProbes[0].name", "lower-case letters, digits and hyphens"),
    ),
    "two probes of one name": (
        _probe("timeout: 1s").replace("}]}}", "}, {name: known, path: /q, body: '1', expected: '[2]'}]}}"),
        ("spec.integrity.goldenProbes[1]", "Duplicate value"),
    ),
    "another host": (
        PROBE.replace("/p", "'http://metadata.internal/'").replace(", WHAT", ""),
        ("spec.integrity.goldenProbes[0].path", "a path that begins with one /, without a host"),
    ),
    "another host without a scheme": (
        PROBE.replace("/p", "//metadata.internal/").replace(", WHAT", ""),
        ("spec.integrity.goldenProbes[0].path", "a path that begins with one /, without a host"),
    ),
    "a path with a space": (
        PROBE.replace("/p", "'/a b'").replace(", WHAT", ""),
        ("spec.integrity.goldenProbes[0].path", "percent-encoded"),
    ),
    "a generic runtime has no path": (
        PROBE.replace("path: /p, ", "").replace(", WHAT", ""),
        ("spec.integrity.goldenProbes", "write where each golden probe is asked, for example path: /v1/predict"),
    ),
    "probes of a port that speaks HTTP/2": (
        _probe("timeout: 1s").replace("spec: {", "spec: {protocol: HTTP2, "),
        ("spec.integrity.goldenProbes", "golden probes are asked over HTTP/1.1"),
    ),
    "a tolerance in percent": (
        _probe("tolerance: 1%"),
        ("spec.integrity.goldenProbes[0].tolerance", 'write a number in quotes, for example "0.001"'),
    ),
    "a tolerance below nothing": (
        _probe("tolerance: '-1'"),
        ("spec.integrity.goldenProbes[0].tolerance", 'write a number in quotes, for example "0.001"'),
    ),
    "an answer that takes an hour": (
        _probe("timeout: 1h"),
        ("spec.integrity.goldenProbes[0].timeout", "write a duration from 100ms to 60s"),
    ),
    "asked all the time": (
        "spec: {integrity: {every: 1s}}",
        ("spec.integrity.every", "write a duration from 10s to 24h, for example 5m"),
    ),
    "a validation without a Job": (
        "spec: {rollback: {validation: {timeout: 1m}}}",
        ("spec.rollback.validation.job", "write a Job: job: {spec: {template:"),
    ),
    "a validation for an hour": (
        "spec: {rollback: {validation: {timeout: 1h, job: {spec: {template: {spec: {containers: [{name: a}]}}}}}}}",
        ("spec.rollback.validation.timeout", "write a duration from 5s to 15m"),
    ),
    "a validation whose Job is empty": (
        "spec: {rollback: {validation: {job: {}}}}",
        ("spec.rollback.validation.job.spec", "write a Job's spec: {template:"),
    ),
    "a validation with a label of Serin's": (
        "spec: {rollback: {validation: {job: {metadata: {labels: {serin.dev/a: b}}, "
        "spec: {template: {spec: {containers: [{name: a}]}}}}}}}",
        ("spec.rollback.validation.job.metadata.labels", "are set by Serin: remove them"),
    ),
    "a validation with a deadline of its own": (
        "spec: {rollback: {validation: {job: {spec: {activeDeadlineSeconds: 9, "
        "template: {spec: {containers: [{name: a}]}}}}}}}",
        ("activeDeadlineSeconds", "unknown field"),
    ),
    "a validation without containers": (
        "spec: {rollback: {validation: {job: {spec: {template: {spec: {containers: []}}}}}}}",
        ("spec.rollback.validation.job.spec.template.spec.containers", "write at least one container"),
    ),
    "a validation with a variable of Serin's": (
        "spec: {rollback: {validation: {job: {spec: {template: {spec: {containers: "
        "[{name: a, env: [{name: SERIN_X, value: y}]}]}}}}}}}",
        ("spec.rollback.validation.job.spec.template.spec.containers[0]", "are set by Serin: rename them"),
    ),
    "a digest that is wanted": (
        "spec: {integrity: {digest: Wanted}}",
        ("spec.integrity.digest", 'supported values: "Off", "Required"'),
    ),
    "a signature that is wanted": (
        "spec: {integrity: {signature: Wanted}}",
        ("spec.integrity.signature", 'supported values: "Off", "Required"'),
    ),
    "a signature of a generic runtime": (
        "spec: {integrity: {signature: Required}}",
        ("spec.integrity.signature", "cannot be asked which inputs and outputs its model has"),
    ),
    "a tensor without a shape": (
        "spec: {features: {signature: {inputs: [{name: x, datatype: FP32}]}}}",
        ("spec.features.signature.inputs[0].shape", "Required value"),
    ),
    "a tensor of another protocol's type": (
        "spec: {features: {signature: {inputs: [{name: x, datatype: float32, shape: [-1, 4]}]}}}",
        ("spec.features.signature.inputs[0].datatype", '"FP32"'),
    ),
    "two tensors of one name": (
        "spec: {features: {signature: {outputs: [" + ", ".join(["{name: y, datatype: FP32, shape: [1]}"] * 2) + "]}}}",
        ("spec.features.signature.outputs[1]", "Duplicate value"),
    ),
    "a shape of words": (
        "spec: {features: {signature: {inputs: [{name: x, datatype: FP32, shape: [any]}]}}}",
        ("spec.features.signature.inputs[0].shape[0]", "integer"),
    ),
    "a shape below any": (
        "spec: {features: {signature: {inputs: [{name: x, datatype: FP32, shape: [-2]}]}}}",
        ("spec.features.signature.inputs[0].shape[0]", "greater than or equal to -1"),
    ),
    "records in days": ("spec: {snapshots: {every: 1d}}", ("spec.snapshots.every", "from 1m to 720h, for example 24h")),
    "records each second": ("spec: {snapshots: {every: 1s}}", ("spec.snapshots.every", "from 1m to 720h")),
    "records as a number": ("spec: {snapshots: {every: 60}}", ("spec.snapshots.every", "string")),
    "no snapshot kept": ("spec: {snapshots: {keep: 0}}", ("spec.snapshots.keep", "greater than or equal to 1")),
    "too many snapshots": ("spec: {snapshots: {keep: 1000}}", ("spec.snapshots.keep", "less than or equal to 100")),
    "deadline in days": ("spec: {progressDeadline: 1d}", ("spec.progressDeadline", "from 1s to 24h")),
    "deadline as a number": ("spec: {progressDeadline: 600}", ("spec.progressDeadline", "must be of type string")),
    "longest duration that fits": ("spec: {progressDeadline: 999999h999999h99999h}", ("progressDeadline", "1s to 24h")),
}

ACCEPTED = {
    "limits that are watched": _limited("watch: {}", metric="window: 24h"),
    "limits that go back seldom": _limited("watch: {}, rollback: {maxPerDay: 3, cooldown: 10m}"),
    "an experiment that goes back seldom": (
        "spec: {rollback: {maxPerDay: 3}, watch: {}, strategy: {bandit: {reward: {metric: errors, better: Higher}}}, "
        "metrics: [{name: errors, template: {name: request-errors}}, "
        "{name: queue, value: {query: 'max(q{ {{.version}} })', max: '5'}}]}"
    ),
    "labels of a limit": _limited("watch: {}", metric="window: 24h, labelDelay: 6h"),
    "slices": f"spec: {{metrics: [{{name: m, {MISSED}, by: country}}]}}",
    "slices of a limit": (
        f"spec: {{metrics: [{{name: m, {MISSED}, by: country, minRequests: 50, against: limit, limit: '0.1'}}], "
        "watch: {}}"
    ),
    "a past": _past(),
    "a past with all that it may have": _past(
        "window: 24h, minCoverage: '.5', labelDelay: 6h, for: 30m, limit: '1.5', escalateAfter: 24h, severity: minor"
    ),
    "a first day": _past("minCoverage: '1', window: 10m", against="snapshot"),
    "a past of a latency": (
        "spec: {metrics: [{name: l, template: {name: request-latency}, against: history, tolerance: {percent: 30}}], "
        "watch: {}}"
    ),
    "a past of a mean": f"spec: {{metrics: [{{name: m, {TOKENS}, against: snapshot, limit: '1.2'}}], watch: {{}}}}",
    "a past of a concentration": (
        f"spec: {{metrics: [{{name: m, {ITEMS}, against: history, limit: '2'}}], watch: {{}}}}"
    ),
    "a reference that is watched": (
        f"spec: {{metrics: [{{name: m, {KNOWN}, against: reference, severity: minor, window: 24h}}], watch: {{}}}}"
    ),
    "a minor limit that escalates": (
        "spec: {metrics: [{name: q, value: {query: 'max(q{ {{.version}} })', max: '5'}, severity: minor, "
        "escalateAfter: 24h}], watch: {}}"
    ),
    "limits that are watched beside a holdback": _limited("watch: {holdback: {}, interval: 30s, rollBackWithin: 0s}"),
    "a value that is watched": (
        "spec: {metrics: [{name: queue, value: {query: 'max(q{ {{.version}} })', max: '5'}, severity: minor}], "
        "watch: {}}"
    ),
    "the longest name": "metadata: {name: " + "b" * 52 + "}",
    "a port and no containerPort": "spec: {port: 80, template: {spec: {containers: [{name: model, image: i}]}}}",
    "a runtime with its model": "spec: {runtime: triton, model: {name: fraud}}",
    "a model in a file": "spec: {model: {uri: 'file:///models/7'}}",
    "keys of config": "spec: {config: {a: '', max-age: '3', b.c_D: x}}",
    "each change alone": "spec: {rollback: {scope: auto}, strategy: {shadow: {mirror: 20, bake: 5m}}}",
    "two changes together": "spec: {rollback: {dimensions: [config, runtime]}}",
    "no change of an experiment": (
        "spec: {rollback: {scope: all}, strategy: {bandit: {reward: {metric: converted, better: Higher}}}, "
        "metrics: [{name: converted, ratio: {bad: 'a{ {{.version}} }', total: 'b{ {{.version}} }'}}]}"
    ),
    "no shield": "spec: {router: {envoy: {shield: 'Off'}}}",
    "a hedge without a time-out": "spec: {router: {envoy: {hedgeAfter: 500ms}}, timeout: 0s}",
    "a Service with everything": (
        "spec: {service: {port: 443, type: LoadBalancer, appProtocol: kubernetes.io/h2c, "
        "annotations: {service.beta.kubernetes.io/aws-load-balancer-internal: 'true', team: risk}}}"
    ),
    "a Service with extra ports": (
        "spec: {service: {extraPorts: [{name: admin, port: 9000}, {name: grpc, port: 8081, appProtocol: grpc}]}, "
        "template: {spec: {containers: [{name: model, image: i, ports: [{containerPort: 8080}, "
        "{name: admin, containerPort: 9000}, {name: grpc, containerPort: 8081}]}]}}}"
    ),
    "Triton over gRPC": "spec: {runtime: triton, model: {name: m}, port: 8001, protocol: HTTP2}",
    "HTTP/1.1 at Triton's gRPC port": "spec: {runtime: triton, model: {name: m}, port: 8001, protocol: HTTP1}",
    "an open inference server over gRPC": (
        "spec: {runtime: openInference, model: {name: m}, port: 9000, protocol: HTTP2, healthPort: 8080}"
    ),
    "a single step with everything": "spec: {strategy: {canary: {steps: [{weight: 100, bake: 0s}]}}}",
    "the same weight twice": "spec: {strategy: {canary: {steps: [{weight: 5, bake: 1m}, {weight: 5, bake: 1m}]}}}",
    "a pause before the first weight": "spec: {strategy: {canary: {steps: [{pause: {}}, {weight: 5, bake: 1m}]}}}",
    "just enough time, and no pause": (
        "spec: {strategy: {canary: {steps: [{weight: 5, bake: 30m}, {weight: 9, bake: 1h30m}], maxDuration: 2h}}}"
    ),
    "a golden probe": _probe("tolerance: '0', timeout: 500ms"),
    "a golden probe of the Open Inference Protocol": PROBE.replace("path: /p, ", "")
    .replace(", WHAT", "")
    .replace("spec: {", "spec: {runtime: mlserver, model: {name: m}, "),
    "a golden probe of a server with gRPC": _probe("timeout: 1s").replace(
        "spec: {", "spec: {runtime: triton, model: {name: m}, port: 8001, protocol: HTTP2, "
    ),
    "retraining by a webhook": (
        "spec: {retraining: {triggers: [{drift: {}}, {schedule: {every: 720h}}, {rollbacks: {count: 3, within: 168h}}, "
        "{volume: {metric: errors, requests: 100000}}], cooldown: 0s, webhook: {name: pipelines}}}"
    ),
    "retraining by a limit": (
        "spec: {watch: {}, metrics: [{name: a, template: {name: request-errors}, against: limit, limit: '0.1'}], "
        "retraining: {triggers: [{performance: {metric: a}}], webhook: {name: hook}}}"
    ),
    "retraining by a Job": "spec: {retraining: {triggers: [{drift: {}}], job: JOB}}".replace("JOB", JOB),
    "records on schedule": "spec: {snapshots: {every: 1h, keep: 3}}",
    "a longest duration for the default steps": "spec: {strategy: {canary: {maxDuration: 25m}}}",
    "a limit for errors": "spec: {metrics: [{name: a, template: {name: request-errors}, against: limit, limit: 10m}]}",
    "a limit for the latency": (
        "spec: {metrics: [{name: a, template: {name: request-latency}, against: limit, limit: '250'}]}"
    ),
    "spaces around the version": (
        "spec: {metrics: [{name: a, ratio: {bad: 'b{ {{ .version }} }', total: 't{ {{.version}} }'}}]}"
    ),
    "a distribution by label, with its limit": "spec: {metrics: [{name: a, " + ANSWERS + ", limit: '0.05'}]}",
    "a distribution by buckets": (
        "spec: {metrics: [{name: a, distribution: {counts: 'p_bucket{ {{.version}} }', by: le}, severity: critical}]}"
    ),
    "a reference that holds": "spec: {metrics: [{name: a, " + KNOWN + ", against: reference, severity: minor}]}",
    "a reference by buckets": (
        "spec: {metrics: [{name: a, distribution: {counts: 'p_bucket{ {{.version}} }', by: le, "
        "reference: {'-1.5': 1, '0.5': 300, '1': 40, +Inf: 0}}, against: reference, severity: info}]}"
    ),
    "a template against its reference": (
        "spec: {metrics: [{name: a, template: {name: t}, against: reference, severity: info, limit: '0.2'}]}"
    ),
    "a latency with a tolerance and no warm-up": (
        "spec: {metrics: [{name: a, template: {name: request-latency}, tolerance: {percent: 0, atLeast: 20ms}}], "
        "analysis: {warmup: 0s}}"
    ),
    "a mean of which less is worse": "spec: {metrics: [{name: a, " + TOKENS + ", limit: '1', lowerIsWorse: true}]}",
    "a name with a slash for a runtime that is not asked": "spec: {model: {name: owner/fraud}}",
    "a value with one limit": "spec: {metrics: [{name: a, value: {query: up, min: '-1'}, for: 90s}]}",
    "a value with equal limits": "spec: {metrics: [{name: a, value: {query: up, min: 1000m, max: '1'}}]}",
    "the pod spec's own fields": (
        "spec: {template: {spec: {nodeSelector: {gpu: 'yes'}, volumes: [{name: cache, emptyDir: {}}]}}}"
    ),
}

TEMPLATES_REFUSED: Refusals = {
    "no shape": ("spec: {ratio: null}", ("spec", "write exactly one of ratio")),
    "two shapes": ("spec: {value: {query: up}}", ("spec", "write exactly one of ratio")),
    "an argument's name": (
        "spec: {arguments: [{name: model-name}]}",
        ("spec.arguments[0].name", "for example modelName"),
    ),
    "an argument twice": (
        "spec: {arguments: [{name: a}, {name: a, default: b}]}",
        ("spec.arguments[1]: Duplicate value",),
    ),
    "versions not told apart": ("spec: {ratio: {bad: errors_total}}", ("spec.ratio.bad", "write {{.version}} where")),
    "totals not told apart": (
        "spec: {ratio: {total: all_total}}",
        ("spec.ratio.total", "write {{.version}} where"),
    ),
    "buckets not told apart": (
        "spec: {ratio: null, histogram: {buckets: seconds_bucket}}",
        ("spec.histogram.buckets", "write {{.version}} where"),
    ),
    "unknown unit": (
        "spec: {ratio: null, histogram: {buckets: 'b{ {{.version}} }', unit: seconds}}",
        ("spec.histogram.unit", '"s", "ms", ""'),
    ),
    "answers not told apart": (
        "spec: {ratio: null, distribution: {counts: a_total, by: label}}",
        ("spec.distribution.counts", "write {{.version}} where"),
    ),
    "a category that is no label": (
        "spec: {ratio: null, " + ANSWERS.replace("by: label", "by: a.b") + "}",
        ("spec.distribution.by", "write the name of a label"),
    ),
    "a reference without an answer": (
        "spec: {ratio: null, " + KNOWN.replace("97", "0").replace("3", "0") + "}",
        ("spec.distribution.reference", "write how many answers of each category"),
    ),
    "buckets named like categories": (
        "spec: {ratio: null, " + KNOWN.replace("by: label", "by: le") + "}",
        ("spec.distribution.reference", "write their upper bounds, for example"),
    ),
    "a concentration not told apart": (
        "spec: {ratio: null, " + ITEMS.replace(" {{.version}} ", "") + "}",
        ("spec.concentration.counts", "write {{.version}} where"),
    ),
    "a concentration of a template's buckets": (
        "spec: {ratio: null, " + ITEMS.replace("by: item", "by: le") + "}",
        ("spec.concentration.by", "buckets (le) are no answers"),
    ),
    "sums not told apart": (
        "spec: {ratio: null, mean: {sum: s, count: 'c{ {{.version}} }'}}",
        ("spec.mean.sum", "write {{.version}} where"),
    ),
    "counts not told apart": (
        "spec: {ratio: null, mean: {sum: 's{ {{.version}} }', count: c}}",
        ("spec.mean.count", "write {{.version}} where"),
    ),
    "an argument named like a version": (
        "spec: {arguments: [{name: stable}]}",
        ("spec.arguments[0].name", "write another name"),
    ),
}


BUILT_IN_REFUSED = {
    name: (f"metadata: {{name: {name}}}", ("are built in: write a metadata.name of your own",)) for name in templates()
}
