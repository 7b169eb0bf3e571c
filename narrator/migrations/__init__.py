"""The schema's versions, run from code by alembic (promise P13)."""
