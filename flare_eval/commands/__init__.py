"""The command line `flare-eval`."""
