"""`serin lint`: what the API server and the operator would say to a file, said without either."""
