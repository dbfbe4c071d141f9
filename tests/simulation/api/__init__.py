"""The simulated API server: objects, field owners, the CRDs' schemas and rules, watches, garbage collection, faults."""
