from __future__ import annotations
def reconcile(name: str) -> list[str]:
    return []
