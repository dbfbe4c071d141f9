"""`serin dashboard`: the web page for people, served on this machine with the user's own kubeconfig and rights."""
