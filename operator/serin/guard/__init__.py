"""The guard: a process of its own that the router shows models' answers to, before clients see them."""
