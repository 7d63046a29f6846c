"""What happened, told and kept: the EventBus, the AuditTrail and bridges to other event systems."""

from batchyard.events.agentgit import AgentGitBridge
from batchyard.events.audit import AuditSummary, AuditTrail, Drained, one_line
from batchyard.events.bridges import Bridge, BridgeCounts, ForeignEmitter
from batchyard.events.bus import EventBus, Handler, Subscription
from batchyard.events.cloudevents import CloudEventsBridge, cloud_event
from batchyard.events.redact import Redactor

__all__ = [
    "AgentGitBridge",
    "AuditSummary",
    "AuditTrail",
    "Bridge",
    "BridgeCounts",
    "CloudEventsBridge",
    "Drained",
    "EventBus",
    "ForeignEmitter",
    "Handler",
    "Redactor",
    "Subscription",
    "cloud_event",
    "one_line",
]
