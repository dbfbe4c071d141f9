"""Pure: observation to plan. No clock, no cluster, no network."""
