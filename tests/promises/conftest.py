"""Every test here may run on each backend."""

from tests.stores import bare_url, sql_url, store, store_url

__all__ = ["bare_url", "sql_url", "store", "store_url"]
