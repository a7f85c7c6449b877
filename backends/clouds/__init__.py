"""Vendors' clouds: jobs that are sent once, their prices, HTTP."""
