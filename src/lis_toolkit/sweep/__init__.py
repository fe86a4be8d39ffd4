"""Sweeps: every unit set in every sample, step by step, what is seen and measured, into a folder of tables."""

from .plan import SweepPlan, plan_sweep
from .result import Sweep
from .sweep import sweep_units

__all__ = ["Sweep", "SweepPlan", "plan_sweep", "sweep_units"]
