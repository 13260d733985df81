"""``python -m worker.reference``: renew everything that is made from the code."""

from worker.reference.files import renew

renew()
