"""Whether it paid: what a period came to, by its audit and its ledger, and what the finance team takes of it."""
