"""A case as a picture and as one HTML page that opens without network."""
