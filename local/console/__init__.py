"""The service's own page: what there is, and what runs."""
