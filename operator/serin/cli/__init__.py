"""What a person types: `serin VERB` and `kubectl serin VERB`. Reads, explains, checks files, requests actions.

Needs a kubeconfig and the user's own rights, nothing else. It decides nothing: what it shows was decided by the
operator and read from the cluster, and what is asked for is an annotation that the operator acts on.
"""
