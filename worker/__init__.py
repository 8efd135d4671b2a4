"""Makes it so: the Celery application with its one task, the node's tick, and the engine behind them.

Started as ``python -m celery -A worker worker -Q operations,bulk`` (writes) and ``-Q poll`` (looks).
"""

from operations.queue import app
from worker import control, node, tasks

__all__ = ["app", "control", "node", "tasks"]
