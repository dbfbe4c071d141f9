"""The whole operator on the simulated cluster: killed at every request, in pairs, among other people's mistakes."""
