"""Tuning: which strategy to run, chosen by a race on two thirds of the questions and judged on the other third."""
