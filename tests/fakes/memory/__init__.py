"""A target in this process's memory, whose every call can be counted, failed, or lost; for tests of the engine."""
