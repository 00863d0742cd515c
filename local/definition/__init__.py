"""A pipeline definition: parsed and checked, and what its parts mean."""
