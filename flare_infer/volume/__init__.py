"""A volume: an array with its place in the patient, and what its values say."""
