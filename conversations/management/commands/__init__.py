"""The operators' commands, one file each: arguments, a call of a service, and what is printed. The work is in the services."""
