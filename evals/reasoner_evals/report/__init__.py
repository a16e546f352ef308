"""Reports: what runs measured, as figures, an HTML page, CSV and Markdown."""
