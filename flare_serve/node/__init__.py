"""The DICOM node: series that come by C-STORE become jobs, and their results go to archives that were configured."""
