"""Gaussian processes: functions as random variables, one for each output."""
