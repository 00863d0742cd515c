"""Debugger and Profiler: a training job's system metrics, its tensors, and the built-in rules."""
