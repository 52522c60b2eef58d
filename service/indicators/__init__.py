"""Indicators 指标: reported per unit and period, with targets, and marks of villages with plans."""
