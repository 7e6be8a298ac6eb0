"""What an error of an inference service means: which failure, and whose fault. What is then changed is in `compatibility`."""
