"""How places are shared between namespaces, so that nobody's requests can take what another one's need. Pure."""

from collections import Counter


def has_room(taken: Counter[str], namespace: str, more: int, most: int) -> bool:
    """Whether a namespace may take so many more of `most` places: no more than are left then for all others.

    So however many take all that they can, the next one finds room (the rule is that of dynamic thresholds of shared
    buffers: Choudhury and Hahne, 1998). `taken`: places by namespace.
    """
    return taken[namespace] + more <= most - taken.total() - more


def namespace_of(name: str) -> str:
    """Of a deployment as NAMESPACE/NAME."""
    return name.partition("/")[0]


def less(counts: Counter[str], name: str, count: int) -> None:
    """Take them off."""
    counts[name] -= count
    if counts[name] <= 0:  # or a name stays for every one that there ever was
        del counts[name]
