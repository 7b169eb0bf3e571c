"""Every test here may run on each backend."""

from tests.stores import sql_url, store, store_url

__all__ = ["sql_url", "store", "store_url"]
