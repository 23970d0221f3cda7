"""Series of DICOM files: found, told apart, judged and read; nothing here keeps or prints a patient's data."""
