"""A snapshot's Deployment and Service."""
