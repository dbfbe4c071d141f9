"""Tests of Serin. A package, so that no `tests` package of another distribution can hide it."""
