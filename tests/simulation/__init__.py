"""A cluster in memory, in virtual time: what the operator is put on to be killed at every request. See README.md."""
