"""Programs as processes, with the /opt/ml of a container."""
