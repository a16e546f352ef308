"""Calibration: profiles made from finished runs."""
