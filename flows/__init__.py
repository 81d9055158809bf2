"""The dataflows that are run, their configuration and their command line."""
