"""Every call of the HTTP interface: how it is asked and how its answer is read. Nothing here sends anything.

The clients differ only in how they send, wait and iterate, so a route is written down once.
"""

from __future__ import annotations

from modelport.calls.deployments import DeploymentCalls
from modelport.calls.operations import OperationCalls
from modelport.calls.request import D, O
from modelport.calls.security import SecurityCalls
from modelport.calls.targets import TargetCalls


class Calls(DeploymentCalls[D, O], OperationCalls[D, O], TargetCalls[D, O], SecurityCalls[D, O]):
    """All routes; deployments and operations are read into the classes that it is made with."""
