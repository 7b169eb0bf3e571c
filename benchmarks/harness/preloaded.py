"""Imported by the server that forks the workers of `worker_processes`: what takes seconds to import is there then."""

import sqlalchemy.dialects.postgresql.asyncpg  # noqa: F401

from benchmarks.harness.clients import litellm_module

litellm_module()
