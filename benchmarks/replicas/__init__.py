"""The bundles in replicas of AWS's containers, without AWS and without Docker."""
