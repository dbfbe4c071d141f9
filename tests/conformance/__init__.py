"""The same requests to the simulated API server and to a real one: whenever the two differ, the simulation is wrong."""
