"""Measurements that the documentation's claims stand on; `make bench` runs them all."""
