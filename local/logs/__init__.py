"""CloudWatch Logs over the log files of jobs, endpoints and functions."""
