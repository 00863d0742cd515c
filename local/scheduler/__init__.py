"""EventBridge Scheduler: schedules that outlive the process and start pipelines when they are due."""
