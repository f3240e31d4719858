"""What the stand-in and real servers must both show."""
