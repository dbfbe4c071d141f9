"""A Kubernetes cluster for tests, started as plain processes: no container engine, no image registry.

`python -m tests.cluster up` and the pytest fixtures in tests/conftest.py are the two ways in. README.md in this
folder says what each level needs and what it costs.
"""
