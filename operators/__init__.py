"""What happens to records inside a flow: decoding, rules, and why a rule decides as it does."""
