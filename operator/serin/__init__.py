"""Serin: a Kubernetes operator for progressive delivery of machine-learning models."""

__version__ = "0.1.0"
