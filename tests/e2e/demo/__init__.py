"""`make demo`: the main job on a real cluster, as it happens.

Serin is installed from its chart, a real model answers a client that checks every answer, and five versions are applied
one after the other: the files in manifests/samples/demo, as they are. What is shown is what `serin status` shows.
"""
