"""The hops: what each stage does with what it reads."""
