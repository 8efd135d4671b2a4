"""The client: asks a modelport server, blocks for its answers, and raises the exceptions of ``modelport.errors``."""

from __future__ import annotations

from modelport.blocking.batches import Batches
from modelport.blocking.deployments import Deployments
from modelport.blocking.operations import Operations
from modelport.blocking.security import Security
from modelport.blocking.targets import Targets


class Client(Deployments, Operations, Batches, Targets, Security):
    """A modelport server, for one or many threads.

    ``url`` and ``api_key`` default to those of ``profile`` (``modelport config``), ``MODELPORT_URL`` and
    ``MODELPORT_API_KEY``, or the profile that is in use. ``timeout`` is seconds for one answer
    (``MODELPORT_TIMEOUT_SECONDS``, else 30); a prediction may be given its own. Every submission carries an
    idempotency key made here (or given as ``key``), so it is sent again, at most ``repeats.limit`` times, where the
    connection broke or the server was busy, and takes effect once. A prediction is sent again only if the server cannot
    have seen it. While something is waited for, the server may be away for ``outage_seconds``. Use it as a context
    manager, or call ``close``.

    Every method blocks until the server has answered, and raises a ``ModelportError``.
    """
