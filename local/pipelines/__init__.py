"""The Pipelines service: pipelines, their executions, and the steps of these."""
