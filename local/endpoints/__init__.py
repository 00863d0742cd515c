"""From model package to endpoint."""
