"""A decision to be handed around in tests of the shell."""

from typing import Any

import msgspec

from guard.decision import Decision

_FIELDS: dict[str, Any] = {
    "id": "7c9e6679-7425-50de-944b-e07fc1f90ae7",
    "service": "cart",
    "rollout": "cart/v2/2026-09-21T14:13:20Z",
    "canary": "v2",
    "stage": "canary",
    "decision": "rollback",
    "severity": "immediate",
    "level": 1,
    "deadline": "2026-09-21T14:19:00Z",
    "reasons": [
        {
            "rule": "error_ratio",
            "text": "error rate 9 % of 1,000 requests > immediate limit 5 %",
            "severity": "immediate",
            "action": "rollback",
        }
    ],
    "evidence": {"views": [], "sources": {"requests/0": [0, 63]}},
    "policy": {"name": "test", "sha256": "0" * 64},
    "sequence": 1,
    "decided_at": "2026-09-21T14:14:00Z",
}


def decision(**fields: Any) -> Decision:
    """Return a decision with these fields."""
    return msgspec.convert(_FIELDS | fields, Decision)
