"""What a backup is: ids, status, selection, polling decisions. Pure: no I/O, no clock; time is passed in."""
