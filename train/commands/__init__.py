"""The command line `flare-train`."""
