"""A pipeline definition: parsed, checked, and its parts' meaning."""
