"""Reports: what runs say, as data, and that data written out."""
