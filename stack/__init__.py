"""The embedded system: bundled broker, API, workers and Flower as processes of one machine, run as one."""
