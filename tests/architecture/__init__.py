"""Guards of the house rules: each is a check over source text, and each is shown to fire."""
