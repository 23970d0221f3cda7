"""DSC and NSD of a label map, by the protocol of the challenge."""
