"""`gradviz report`: finished runs and documents as one self-contained HTML page."""
