"""The harness behind every number in the README. `make bench` prints them; nothing here asserts a time."""
