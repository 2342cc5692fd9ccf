"""Services: parts of a plugin with a life of their own, and how a plugin names what it needs."""

from nexus_actors.services.injecting import inject
from nexus_actors.services.service import Service

__all__ = ["Service", "inject"]
