"""Side-by-side measurements, one file each: ``make bench NAME=parse``."""
