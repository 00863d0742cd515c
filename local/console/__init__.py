"""The service's own page: what exists, and what runs."""
