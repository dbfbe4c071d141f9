"""The model server of the end-to-end tests: how its models are trained and its image is built."""
