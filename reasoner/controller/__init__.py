"""When a question has had enough: rules over where its votes stand."""
