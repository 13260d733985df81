"""Examine the services of an installation, and say what to do about what is found."""

from worker.doctor.examination import examine
from worker.doctor.findings import Finding, Level

__all__ = ["Finding", "Level", "examine"]
