"""Generated manifests, and what generates them."""
