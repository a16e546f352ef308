"""Calibration: profiles made from finished runs, and alarms when a profile no longer holds."""
