"""Strategies: how a new version takes over. base.py has the protocol, table.py the list."""
