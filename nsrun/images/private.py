"""Whose an image is that was pulled with a pod's secret: it is given to nobody else on this machine for the asking.

The name of such an image in the store says by which Secrets it came (``namespace/name``, never what is in them). A pod
that has one of them uses the image as it is; for any other the registry is asked first, with that pod's credentials
and this machine's. Whom the registry lets in is noted, too; once it let in somebody without a Secret, everybody may.
What was pulled otherwise, or loaded, is everybody's. (Kubernetes: KEP-2535, NeverVerifyPreloadedImages.)
"""

from __future__ import annotations

from collections.abc import Iterable

from nsrun.images.registries import Endpoint
from nsrun.model.credentials import Credentials

__all__ = ["admitted", "is_open_to", "secrets_for"]

Secrets = frozenset[str]
"""Of the pods that may use an image, as ``namespace/name``; empty: everybody may."""


def secrets_for(endpoints: Iterable[Endpoint], credentials: Credentials | None) -> Secrets:
    """The Secrets that may have opened one of these places."""
    known = credentials or Credentials()
    found = (known.find(endpoint.host, endpoint.repository) for endpoint in endpoints)
    return frozenset(credential.secret for each in found for credential in each if credential.secret)


def is_open_to(secrets: Secrets, credentials: Credentials | None) -> bool:
    """Whether a pod with these credentials may use it without asking the registry."""
    own = {credential.secret for _, credential in (credentials or Credentials()).entries}
    return not secrets or not secrets.isdisjoint(own)


def admitted(secrets: Secrets, shown: Secrets) -> Secrets:
    """Who may use it now that the registry let in somebody with the Secrets ``shown``."""
    return secrets | shown if secrets and shown else frozenset()
