"""What a running pipeline tells, read from outside: the broker is asked, the topics are read, nothing is written."""
