"""The operator inside a cluster: what Kopf and the API server are asked and told."""
