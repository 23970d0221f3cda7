"""Label maps in other forms: DICOM SEG, RTSTRUCT, one mask for each organ, color tables."""
