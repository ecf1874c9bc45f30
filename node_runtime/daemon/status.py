"""What a node says of itself, put together from those who know. It decides nothing and changes nothing."""

from __future__ import annotations

from node_runtime import VERSION
from node_runtime.daemon.identity import Identity
from node_runtime.daemon.plans import PlanStore
from schemas import control
from schemas.status import EdgeStatus, NodeStatus, ReplicaStatus


def identity_of(identity: Identity, plans: PlanStore) -> control.Identity:
    """The answer to `identify`: name, authority and plan stay empty before enrolment."""
    credentials = identity.credentials
    return control.Identity(
        version=VERSION,
        public_key=identity.public_key,
        node=credentials.node if credentials else "",
        authority=credentials.authority if credentials else "",
        generation=plans.generation,
        digest=plans.digest,
        plan=plans.signed.plan if plans.signed else "",
        certificate_expires_at=identity.certificate_expires_at,
    )


def status_of(
    identity: Identity,
    plans: PlanStore,
    started_at: float,
    edges: tuple[EdgeStatus, ...],
    replicas: tuple[ReplicaStatus, ...],
) -> NodeStatus:
    """The answer to `status`."""
    return NodeStatus(
        node=identity.credentials.node if identity.credentials else "",
        version=VERSION,
        generation=plans.generation,
        digest=plans.digest,
        started_at=started_at,
        certificate_expires_at=identity.certificate_expires_at,
        edges=edges,
        replicas=replicas,
    )
