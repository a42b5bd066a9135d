"""What Nova does, tested once, and run against the simulated Nova and the real one."""
