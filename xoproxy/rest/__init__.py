"""The HTTP API under /api/v1, and what operators' tools ask: health, readiness, metrics.

operations.py   what an operation is: one description serves routing, checks and documentation
pools.py, users.py, groups.py, roles.py, grants.py, tokens.py
                the operations, and the Protocols of what they need
pool_models.py, grant_models.py
                what the operations on pools and grants take and answer
answers.py      answers as JSON, long lists in slices
why.py          the grants that decide about an object
names.py        users and groups by name or id
api.py          carries an operation out: page check, sign-in, rights, body, answer
problems.py     every error as {"error": {"code", "message"}}
openapi.py      the same operations as OpenAPI 3.1
health.py       /healthz, /readyz, /metrics
"""

from xoproxy.rest.api import Services, api_application
from xoproxy.rest.grants import Objects
from xoproxy.rest.health import Readiness, health_routes
from xoproxy.rest.pool_models import (
    CertificateInfo,
    CheckReport,
    CheckStep,
    HostCertificate,
    PoolChange,
    PoolInfo,
    PoolLookAt,
    PoolProblem,
)
from xoproxy.rest.pools import Registry

__all__ = [
    "CertificateInfo",
    "CheckReport",
    "CheckStep",
    "HostCertificate",
    "Objects",
    "PoolChange",
    "PoolInfo",
    "PoolLookAt",
    "PoolProblem",
    "Readiness",
    "Registry",
    "Services",
    "api_application",
    "health_routes",
]
